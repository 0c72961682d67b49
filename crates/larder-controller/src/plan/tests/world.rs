//! A cluster in memory: objects as an API server keeps them, agents that answer, and a clock that is moved by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference, Time};
use larder_api::{
    ConditionType, ImageCache, ImagePhase, ImageSeen, ImageWanted, NodeImageSet, PullPolicy, names,
};
use serde_json::{Value, json};

use crate::index::Change;
use crate::plan::{CacheStep, CacheWrite, NodeWrite, Plan, SetStep, SetWrite, plan};
use crate::{CacheKey, Index, Rules};

pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) rules: Rules,
    pub(super) caches: BTreeMap<String, ImageCache>,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) sets: BTreeMap<String, NodeImageSet>,
    /// Images that some container uses.
    pub(super) in_use: BTreeSet<String>,
    /// Images that cannot be pulled.
    pub(super) bad: BTreeSet<String>,
    version: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let rules = Rules {
            refresh: Some(Duration::from_mins(15)),
            deadline: Duration::from_mins(5),
            pull_policy: PullPolicy::IfNotPresent,
            purge_deadline: Duration::from_mins(5),
            allowed: Vec::new(),
            namespaces: std::collections::BTreeSet::new(),
            jobs: true,
        };
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            rules,
            caches: BTreeMap::new(),
            nodes: BTreeMap::new(),
            sets: BTreeMap::new(),
            in_use: BTreeSet::new(),
            bad: BTreeSet::new(),
            version: 0,
        }
    }

    /// With nodes `n1`, `n2`, ... in zone `a`.
    pub(super) fn with_nodes(count: usize) -> Self {
        let mut world = Self::new();
        (1..=count).for_each(|at| world.add_node(&format!("n{at}"), "a"));
        world
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(super) fn pass_time(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    pub(super) fn add_node(&mut self, name: &str, zone: &str) {
        let uid = format!("node-{}", self.next_version());
        let node = json!({
            "metadata": { "name": name, "uid": uid, "labels": { "zone": zone } },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        self.nodes.insert(name.to_owned(), serde_json::from_value(node).unwrap());
    }

    pub(super) fn set_ready(&mut self, name: &str, ready: &str) {
        let node = self.nodes.get_mut(name).unwrap();
        let conditions = node.status.as_mut().unwrap().conditions.as_mut().unwrap();
        conditions.iter_mut().find(|condition| condition.type_ == "Ready").unwrap().status = ready.to_owned();
    }

    pub(super) fn cordon(&mut self, name: &str) {
        let node = self.nodes.get_mut(name).unwrap();
        node.spec.get_or_insert_default().unschedulable = Some(true);
    }

    /// Makes or edits `team/<name>`.
    pub(super) fn apply(&mut self, name: &str, spec: Value) {
        let spec = serde_json::from_value(spec).unwrap();
        let version = self.next_version();
        let made = Time(self.now + Duration::from_millis(version));
        let cache = self.caches.entry(name.to_owned()).or_insert_with(|| {
            let mut cache = ImageCache::new(name, spec_of(&[]));
            cache.metadata.namespace = Some("team".to_owned());
            cache.metadata.uid = Some(format!("cache-{version}"));
            cache.metadata.creation_timestamp = Some(made);
            cache
        });
        cache.spec = spec;
        *cache.metadata.generation.get_or_insert(0) += 1;
        cache.metadata.resource_version = Some(version.to_string());
    }

    pub(super) fn cache(&mut self, name: &str, images: &[&str]) {
        self.apply(name, json!({ "cacheSpec": [{ "images": images }] }));
    }

    pub(super) fn annotate(&mut self, name: &str, annotation: &str, value: &str) {
        let version = self.next_version().to_string();
        let Some(cache) = self.caches.get_mut(name) else { return };
        cache.metadata.annotations.get_or_insert_default().insert(annotation.to_owned(), value.to_owned());
        cache.metadata.resource_version = Some(version);
    }

    pub(super) fn delete(&mut self, name: &str) {
        let now = Time(self.now);
        if let Some(cache) = self.caches.get_mut(name) {
            cache.metadata.deletion_timestamp.get_or_insert(now);
        }
        self.collect(name);
    }

    fn collect(&mut self, name: &str) {
        let done = |cache: &ImageCache| {
            cache.metadata.deletion_timestamp.is_some()
                && cache.metadata.finalizers.as_ref().is_none_or(Vec::is_empty)
        };
        if self.caches.get(name).is_some_and(done) {
            self.caches.remove(name);
        }
    }

    pub(super) fn index(&self) -> Index {
        let mut index = Index::default();
        for cache in self.caches.values() {
            index.cache(Change::Applied(cache.clone()));
        }
        for node in self.nodes.values() {
            index.node(Change::Applied(node.clone()));
        }
        for set in self.sets.values() {
            index.set(Change::Applied(set.clone()));
        }
        index
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&self.index(), &self.rules, self.now)
    }

    /// Carries out the first `most` writes of a plan.
    pub(super) fn write(&mut self, plan: Plan, most: usize) {
        let Plan { sets, caches, nodes, next: _ } = plan;
        let mut left = most;
        let mut may = || {
            left = left.saturating_sub(1);
            left > 0
        };
        sets.into_iter().take_while(|_| may()).for_each(|write| self.write_set(write));
        caches.into_iter().take_while(|_| may()).for_each(|write| self.write_cache(write));
        nodes.into_iter().take_while(|_| may()).for_each(|write| self.write_node(write));
    }

    fn write_set(&mut self, SetWrite { node, step }: SetWrite) {
        let SetStep::Apply { owner, spec } = step else {
            self.sets.remove(&node);
            return;
        };
        let now = Some(Time(self.now));
        let set = self.sets.entry(node.clone()).or_insert_with(|| NodeImageSet::new(&node, spec.clone()));
        set.spec = spec;
        *set.metadata.generation.get_or_insert(0) += 1;
        set.metadata.owner_references =
            Some(vec![OwnerReference { uid: owner, ..OwnerReference::default() }]);
        let manager = Some(names::CONTROLLER.to_owned());
        set.metadata.managed_fields =
            Some(vec![ManagedFieldsEntry { manager, time: now, ..ManagedFieldsEntry::default() }]);
    }

    fn write_cache(&mut self, CacheWrite { cache: CacheKey { name, .. }, version, step }: CacheWrite) {
        let next = self.next_version().to_string();
        let cache = self.caches.get_mut(&name).unwrap();
        match step {
            CacheStep::Status(status) => cache.status = Some(*status),
            _ if version != cache.metadata.resource_version => return,
            CacheStep::Finalizers(finalizers) => cache.metadata.finalizers = Some(finalizers),
            CacheStep::TakeOff(annotation) => {
                cache.metadata.annotations.as_mut().unwrap().remove(annotation);
            }
        }
        cache.metadata.resource_version = Some(next);
        self.collect(&name);
    }

    fn write_node(&mut self, NodeWrite { node, warm, since: _ }: NodeWrite) {
        let node = self.nodes.get_mut(&node).unwrap();
        let ObjectMeta { labels, .. } = &mut node.metadata;
        let conditions = node.status.as_mut().unwrap().conditions.as_mut().unwrap();
        conditions.retain(|condition| condition.type_ != names::NODE_CONDITION);
        labels.as_mut().unwrap().remove(names::NODE_WARM);
        if let Some(warm) = warm {
            labels.as_mut().unwrap().insert(names::NODE_WARM.to_owned(), warm.to_string());
            let status = if warm { "True" } else { "False" };
            let condition = json!({ "type": names::NODE_CONDITION, "status": status });
            conditions.push(serde_json::from_value(condition).unwrap());
        }
    }

    /// Every agent of a Ready node answers.
    pub(super) fn agents_answer(&mut self) {
        let ready = |node: &Node| {
            let conditions = node.status.as_ref().unwrap().conditions.as_ref().unwrap();
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        let names: Vec<String> =
            self.nodes.iter().filter(|(_, node)| ready(node)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.agent_answers(&name);
        }
    }

    pub(super) fn agent_answers(&mut self, node: &str) {
        let Some(set) = self.sets.get(node) else { return };
        let images: Vec<ImageSeen> = set.spec.images.iter().map(|entry| self.seen(entry)).collect();
        let set = self.sets.get_mut(node).unwrap();
        let generation = set.metadata.generation;
        let status = set.status.get_or_insert_default();
        status.images = images;
        status.observed_generation = generation;
    }

    fn seen(&self, entry: &ImageWanted) -> ImageSeen {
        let phase = match &entry.purge {
            Some(_) if self.in_use.contains(&entry.image) => ImagePhase::Kept,
            Some(_) => ImagePhase::Removed,
            None if self.bad.contains(&entry.image) => ImagePhase::Failed,
            None => ImagePhase::Warm,
        };
        let verified = Time(self.now).max(entry.verify_after.clone().unwrap_or(Time(self.now)));
        ImageSeen {
            image: entry.image.clone(),
            phase,
            purge: entry.purge.clone(),
            reason: (phase == ImagePhase::Failed).then(|| "NotFound".to_owned()),
            message: (phase == ImagePhase::Kept).then(|| "a container uses it".to_owned()),
            verified_at: (phase == ImagePhase::Warm).then_some(verified),
            ..ImageSeen::default()
        }
    }

    /// Controller and agents take turns until there is nothing to write.
    pub(super) fn settle(&mut self) {
        for _ in 0..60 {
            self.agents_answer();
            let plan = self.plan();
            if plan.is_empty() {
                return;
            }
            self.write(plan, usize::MAX);
        }
        panic!("it does not settle: {:#?}", self.plan());
    }

    /// The controller alone, until it waits for agents.
    pub(super) fn control(&mut self) {
        for _ in 0..20 {
            let plan = self.plan();
            if plan.is_empty() {
                return;
            }
            self.write(plan, usize::MAX);
        }
        panic!("it goes on writing: {:#?}", self.plan());
    }

    /// What a node is to hold, with a `-` before what is to go.
    pub(super) fn held(&self, node: &str) -> Vec<String> {
        let entries = self.sets.get(node).into_iter().flat_map(|set| &set.spec.images);
        entries
            .map(|entry| format!("{}{}", if entry.purge.is_some() { "-" } else { "" }, short(&entry.image)))
            .collect()
    }

    /// A cache's status and reason.
    pub(super) fn told(&self, cache: &str) -> (String, String) {
        let status = self.caches[cache].status.clone().unwrap_or_default();
        (status.status.unwrap_or_default(), status.reason.unwrap_or_default())
    }

    /// A condition's status and reason.
    pub(super) fn condition(&self, cache: &str, kind: ConditionType) -> (String, String) {
        let status = self.caches[cache].status.clone().unwrap_or_default();
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == kind.name());
        condition.map(|condition| (condition.status, condition.reason)).unwrap_or_default()
    }

    /// The node's label.
    pub(super) fn label(&self, node: &str) -> Option<&str> {
        self.nodes[node].metadata.labels.as_ref().unwrap().get(names::NODE_WARM).map(String::as_str)
    }
}

fn short(image: &str) -> &str {
    image.trim_start_matches("docker.io/library/").trim_end_matches(":latest")
}

pub(super) fn spec_of(images: &[&str]) -> larder_api::ImageCacheSpec {
    serde_json::from_value(json!({ "cacheSpec": [{ "images": images }] })).unwrap()
}
