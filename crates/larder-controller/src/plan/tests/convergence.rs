//! Random histories of users, nodes and agents, with a controller that ends anywhere and begins again: the end is always the same.

use std::collections::BTreeSet;

use larder_api::names;
use serde_json::json;

use super::World;

const CACHES: [&str; 3] = ["one", "two", "three"];
const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const IMAGES: [&str; 5] = ["a", "b", "c", "d", "e"];
const ZONES: [&str; 2] = ["a", "b"];

fn pick<'a>(random: &mut fastrand::Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}

/// What one cache is to come to.
fn edit(world: &mut World, random: &mut fastrand::Rng) {
    let images: BTreeSet<&str> = (0..=random.usize(..3)).map(|_| pick(random, &IMAGES)).collect();
    let mut list = json!({ "images": images });
    if random.bool() {
        list["nodeSelector"] = json!({ "zone": pick(random, &ZONES) });
    }
    let mut spec = json!({ "cacheSpec": [list] });
    if random.u8(..4) == 0 {
        spec["maxParallelNodes"] = json!(1);
    }
    if random.u8(..8) == 0 {
        spec["deadline"] = json!("0s");
    }
    world.apply(pick(random, &CACHES), spec);
}

fn happen(world: &mut World, random: &mut fastrand::Rng) {
    let (cache, node) = (pick(random, &CACHES), pick(random, &NODES));
    match random.u8(..12) {
        0..3 => edit(world, random),
        3 => world.annotate(cache, names::PURGE, &random.u8(..3).to_string()),
        4 => world.annotate(cache, names::REFRESH, &random.u8(..3).to_string()),
        5 => world.delete(cache),
        6 => world.add_node(node, pick(random, &ZONES)),
        7 => drop(world.nodes.remove(node)),
        8 if world.nodes.contains_key(node) => world.set_ready(node, pick(random, &["True", "Unknown"])),
        9 => world.agent_answers(node),
        _ => world.pass_time(random.u64(..40)),
    }
}

fn check(world: &World) {
    for (name, node) in &world.nodes {
        let labels = node.metadata.labels.as_ref().unwrap();
        let mut wanted = BTreeSet::new();
        for cache in world.caches.values() {
            let status = cache.status.as_ref().unwrap();
            let valid = larder_api::validate(&cache.spec).unwrap();
            if status.purged_generation != cache.metadata.generation {
                let lists = valid.lists.iter().filter(|list| list.nodes.matches(labels));
                wanted.extend(lists.flat_map(|list| &list.images).map(|(text, _)| text.clone()));
            }
        }
        assert_eq!(world.held(name), wanted.into_iter().collect::<Vec<_>>(), "{name}");
    }
    assert!(world.sets.keys().all(|name| world.nodes.contains_key(name)));
    for (name, cache) in &world.caches {
        assert!(
            cache.metadata.annotations.as_ref().is_none_or(std::collections::BTreeMap::is_empty),
            "{name}"
        );
        assert!(cache.metadata.deletion_timestamp.is_none(), "{name}");
        assert_eq!(cache.status.as_ref().unwrap().observed_generation, cache.metadata.generation, "{name}");
        assert!(matches!(world.told(name).0.as_str(), "Succeeded" | "NoImagesPulledOrDeleted"), "{name}");
    }
}

#[test]
fn a_controller_that_ends_after_any_write_is_carried_on_to_the_same_end() {
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::with_nodes(2);
        for _ in 0..30 {
            happen(&mut world, &mut random);
            // A controller that is killed after some of its writes, and sometimes not there at all.
            let plan = world.plan();
            world.write(plan, random.usize(..6));
        }
        // Then users leave things alone, all nodes are there, and the specs are valid.
        for name in world.nodes.keys().cloned().collect::<Vec<_>>() {
            world.set_ready(&name, "True");
        }
        for name in world.caches.keys().cloned().collect::<Vec<_>>() {
            if larder_api::validate(&world.caches[&name].spec).is_err() {
                world.cache(&name, &["a"]);
            }
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.settle();
            check(&world);
        }));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
