//! `larder agent` with a real API server, every containerd and a real registry.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

mod support;

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use larder_api::{ImagePhase, ImageWanted, SecretRef, Source};
use larder_core::ImageRef;
use larder_tests::containerd::{Containerd, Version, on_each};
use larder_tests::cri_server::{Answer, CriServer};
use larder_tests::image::{Compression, Entry, Image, ImageBuilder, LayerBuilder, busybox};
use larder_tests::process::until;
use larder_tests::registry::{Credentials, Registry};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{Agent, SOON, Set, kubeconfig_as, object, shared, start_server, wanted};

/// An image that is removed by hand is there again by then.
const BACK: Duration = Duration::from_secs(30);

fn small(text: &str) -> Image {
    let own = LayerBuilder::default().entry(Entry::file("own", text)).build(Compression::Gzip).unwrap();
    ImageBuilder::default().layer(&own).cmd(&["x"]).build()
}

fn sleeper(text: &str) -> Image {
    let layer = busybox().unwrap().entry(Entry::file("own", text)).build(Compression::Gzip).unwrap();
    ImageBuilder::default().layer(&layer).cmd(&["/bin/busybox", "sleep", "1000"]).build()
}

fn is_there(containerd: &Containerd, image: &ImageRef) -> Result<bool> {
    let status = containerd.image_status(&image.to_string())?;
    Ok(status.is_some_and(|seen| seen.repo_tags.contains(&image.to_string())))
}

#[test]
fn a_set_turns_warm_in_three_writes_and_what_is_removed_comes_back() {
    let registry = Registry::start().unwrap();
    let names = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
    let images =
        names.map(|name| (registry.push(&small(name), &format!("agent/{name}:1")).unwrap(), small(name)));
    on_each(|containerd| {
        containerd.pull(&images[0].0)?;
        let set = Set::create(shared(), images.iter().map(|(image, _)| wanted(image)).collect());
        let writes = set.count_writes(shared());
        let agent = Agent::start(&set, containerd);
        let status = set.ready()?;
        ensure!(status.warm.as_deref() == Some("8/8"), "{status:?}");
        for (reference, image) in &images {
            let seen = set.seen(reference)?;
            let there = containerd.image_status(&reference.to_string())?.unwrap();
            ensure!(seen.phase == ImagePhase::Warm && seen.verified_at.is_some(), "{seen:?}");
            ensure!(seen.digest == Some(image.digest().to_string()), "{seen:?}");
            ensure!(seen.bytes == i64::try_from(there.size).ok(), "{seen:?}");
            let source = if *reference == images[0].0 { Source::Found } else { Source::Pulled };
            ensure!(seen.source == Some(source), "{seen:?}");
        }
        sleep(Duration::from_secs(12));
        let (written, managers) = (writes.count(), set.get()?.metadata.managed_fields.unwrap_or_default());
        println!("containerd {}: {written} writes", containerd.version());
        ensure!((1..=3).contains(&written), "{written} writes: {}", agent.log());
        ensure!(managers.iter().any(|one| one.manager.as_deref() == Some("larder-agent")), "{managers:?}");

        let removed = &images[3].0;
        containerd.remove_image(&removed.to_string())?;
        let begun = Instant::now();
        until("it is back", BACK, || {
            ensure!(is_there(containerd, removed)?, "gone");
            Ok(())
        })?;
        println!("containerd {}: back after {:?}", containerd.version(), begun.elapsed());
        set.ready()?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_purge_removes_what_the_agent_pulled_and_nothing_uses_and_keeps_the_rest_for_good() {
    let registry = Registry::start().unwrap();
    let [found, idle, used] = ["found", "idle", "used"]
        .map(|name| registry.push(&sleeper(name), &format!("purge/{name}:1")).unwrap());
    let twin = registry.push(&sleeper("twin"), "purge/twin:1").unwrap();
    let other = registry.push(&sleeper("twin"), "purge/other:1").unwrap();
    on_each(|containerd| {
        containerd.pull(&found)?;
        let all = [&found, &idle, &used, &twin];
        let set = Set::create(shared(), all.map(wanted).into());
        let mut agent = Agent::start(&set, containerd);
        set.ready()?;
        containerd.pull(&other)?;
        let container = containerd.start_container(&used.to_string(), &[])?;
        let purge =
            |token: &str| all.map(|image| ImageWanted { purge: Some(token.to_owned()), ..wanted(image) });
        set.want(purge("1").into(), None);
        let answered = |token: &str| {
            until("the purge is answered", SOON, || {
                let seen = all.map(|image| set.seen(image));
                let seen: Vec<_> = seen.into_iter().collect::<Result<_>>()?;
                ensure!(seen.iter().all(|seen| seen.purge.as_deref() == Some(token)), "{seen:?}");
                Ok(seen
                    .into_iter()
                    .map(|seen| (seen.phase, seen.reason.unwrap_or_default()))
                    .collect::<Vec<_>>())
            })
        };
        let kept = |reason: &str| (ImagePhase::Kept, reason.to_owned());
        let removed = (ImagePhase::Removed, String::new());
        let expected = [kept("NotOurs"), removed.clone(), kept("InUse"), kept("NotOurs")];
        ensure!(answered("1")? == expected, "{:?}", answered("1"));
        let there = |images: &[&ImageRef]| -> Result<Vec<bool>> {
            images.iter().map(|image| is_there(containerd, image)).collect()
        };
        ensure!(there(&[&found, &idle, &used, &twin, &other])? == [true, false, true, true, true]);

        drop(container);
        agent.kill();
        agent.launch();
        sleep(Duration::from_secs(12));
        ensure!(
            there(&[&found, &idle, &used])? == [true, false, true],
            "what was kept stays, and no more comes"
        );
        set.want(purge("2").into(), None);
        ensure!(
            answered("2")? == [kept("NotOurs"), removed.clone(), removed, kept("NotOurs")],
            "{:?}",
            answered("2")
        );
        ensure!(there(&[&found, &used])? == [true, false]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_private_image_needs_a_secret_that_the_agent_may_read_and_no_other_right() {
    let server = start_server();
    let credentials = Credentials { user: "lab".to_owned(), password: "secret".to_owned() };
    let registry = Registry::start_with_basic_auth(credentials).unwrap();
    let image = registry.push(&small("private"), "agent/private:1").unwrap();
    let containerd = Containerd::start(Version::V1_7).unwrap();
    let user = "system:serviceaccount:larder:larder-agent";
    let subjects = json!([{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }]);
    let bind = |kind: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "agent" });
    let rules = json!([
        { "apiGroups": ["kubefledged.io"], "resources": ["nodeimagesets"], "verbs": ["list", "watch"] },
        { "apiGroups": ["kubefledged.io"], "resources": ["nodeimagesets/status"], "verbs": ["patch"] },
    ]);
    let meta = json!({ "name": "agent" });
    let role: ClusterRole = object(json!({ "metadata": meta, "rules": rules }));
    let binding: ClusterRoleBinding =
        object(json!({ "metadata": meta, "roleRef": bind("ClusterRole"), "subjects": subjects }));
    let client = || server.client().unwrap();
    server.wait(Api::all(client()).create(&PostParams::default(), &role)).unwrap();
    server.wait(Api::all(client()).create(&PostParams::default(), &binding)).unwrap();
    let auths = json!({ "auths": { (registry.address()): { "username": "lab", "password": "secret" } } });
    let secret: Secret = object(json!({
        "metadata": { "name": "regcred" }, "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": auths.to_string() },
    }));
    server.wait(Api::namespaced(client(), "default").create(&PostParams::default(), &secret)).unwrap();

    let reference = SecretRef { namespace: "default".to_owned(), name: "regcred".to_owned() };
    let set = Set::create(&server, vec![ImageWanted { pull_secrets: vec![reference], ..wanted(&image) }]);
    let kubeconfig = kubeconfig_as(&server, user);
    let agent = Agent::start_at(&set, &containerd.socket(), kubeconfig.path(), &[]);
    let seen = until("it says why", SOON, || {
        let seen = set.seen(&image)?;
        ensure!(seen.phase == ImagePhase::Failed, "{seen:?}");
        Ok(seen)
    });
    let seen = seen.unwrap_or_else(|error| panic!("{error:#}: {}", agent.log()));
    assert_eq!(seen.reason.as_deref(), Some("SecretNotReadable"), "{seen:?}");
    assert!(seen.message.unwrap().contains("secret default/regcred"));

    let rules = json!([{ "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["regcred"], "verbs": ["get"] }]);
    let role: Role = object(json!({ "metadata": meta, "rules": rules }));
    let binding: RoleBinding =
        object(json!({ "metadata": meta, "roleRef": bind("Role"), "subjects": subjects }));
    server.wait(Api::namespaced(client(), "default").create(&PostParams::default(), &role)).unwrap();
    server.wait(Api::namespaced(client(), "default").create(&PostParams::default(), &binding)).unwrap();
    set.ready().unwrap_or_else(|error| panic!("{error:#}: {}", agent.log()));
    assert_eq!(set.seen(&image).unwrap().source, Some(Source::Pulled));
    assert!(!agent.log().contains("\"secret\""), "{}", agent.log());
}

#[test]
fn an_agent_that_is_killed_at_any_moment_converges_and_knows_what_is_its_own() {
    let registry = Registry::start().unwrap();
    let ours: Vec<_> =
        (0..4).map(|n| registry.push(&small(&format!("k{n}")), &format!("kill/k{n}:1")).unwrap()).collect();
    let theirs = registry.push(&small("theirs"), "kill/theirs:1").unwrap();
    on_each(|containerd| {
        for moment in 0..14 {
            containerd.pull(&theirs)?;
            let set = Set::create(shared(), ours.iter().chain([&theirs]).map(wanted).collect());
            let mut agent = Agent::start(&set, containerd);
            for more in 0..3 {
                sleep(Duration::from_millis(60 * moment + 350 * more));
                agent.kill();
                agent.launch();
            }
            set.ready()?;
            for image in &ours {
                let seen = set.seen(image)?;
                ensure!(seen.source == Some(Source::Pulled), "moment {moment}: {seen:?}: {}", agent.log());
            }
            ensure!(set.seen(&theirs)?.source == Some(Source::Found), "moment {moment}");
            agent.kill();
            for image in ours.iter().chain([&theirs]) {
                containerd.remove_image(&image.to_string())?;
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_runtime_that_restarts_in_the_middle_is_waited_for() {
    let registry = Registry::start().unwrap();
    let images: Vec<_> = (0..6)
        .map(|n| registry.push(&sleeper(&format!("r{n}")), &format!("restart/r{n}:1")).unwrap())
        .collect();
    on_each(|containerd| {
        let set = Set::create(shared(), images.iter().map(wanted).collect());
        let _agent = Agent::start(&set, containerd);
        until("the first image is there", SOON, || {
            let any = images.iter().any(|image| is_there(containerd, image).unwrap_or_default());
            ensure!(any, "none yet");
            Ok(())
        })?;
        containerd.restart()?;
        set.ready()?;
        for image in &images {
            ensure!(is_there(containerd, image)?, "{image}");
            ensure!(set.seen(image)?.source == Some(Source::Pulled), "{:?}", set.seen(image));
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn while_the_api_server_is_away_the_last_spec_counts_and_afterwards_the_status_is_true() {
    let server = start_server();
    let registry = Registry::start().unwrap();
    let image = registry.push(&small("away"), "agent/away:1").unwrap();
    let containerd = Containerd::start(Version::V2_1).unwrap();
    let set = Set::create(&server, vec![wanted(&image)]);
    let agent = Agent::start(&set, &containerd);
    set.ready().unwrap();
    let verified = set.seen(&image).unwrap().verified_at;
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    containerd.remove_image(&image.to_string()).unwrap();
    let back = until("it is back", BACK * 2, || {
        ensure!(is_there(&containerd, &image)?, "gone");
        Ok(())
    });
    sleep(Duration::from_secs(10));
    kill_process(pid, Signal::CONT).unwrap();
    back.unwrap_or_else(|error| panic!("{error:#}: {}", agent.log()));
    let later = until("the status is written", SOON, || {
        let seen = set.seen(&image)?;
        ensure!(seen.verified_at > verified && seen.phase == ImagePhase::Warm, "{seen:?}");
        Ok(seen)
    });
    later.unwrap_or_else(|error| panic!("{error:#}: {}", agent.log()));
    let other = registry.push(&small("after"), "agent/after:1").unwrap();
    set.want(vec![wanted(&image), wanted(&other)], None);
    set.ready().unwrap();
}

#[test]
fn while_the_registry_is_away_what_is_warm_stays_warm_and_says_so() {
    let registry = Registry::start().unwrap();
    let fixed = registry.push(&small("fixed"), "agent/fixed:1").unwrap();
    let moving = registry.push(&small("moving"), "agent/moving:latest").unwrap();
    let missing = registry.reference("agent/missing:1").unwrap();
    let containerd = Containerd::start(Version::V1_7).unwrap();
    let set = Set::create(shared(), vec![wanted(&fixed), wanted(&moving)]);
    let agent =
        Agent::start_at(&set, &containerd.socket(), shared().kubeconfig(), &["--max-pull-attempt-delay=2s"]);
    set.ready().unwrap();
    drop(registry);
    set.want(vec![wanted(&fixed), wanted(&missing), wanted(&moving)], Some(2));
    let said = until("it says so", SOON, || {
        let (moving, missing) = (set.seen(&moving)?, set.seen(&missing)?);
        ensure!(moving.reason.is_some() && missing.reason.is_some(), "{moving:?} {missing:?}");
        Ok((moving, missing))
    });
    let (moving, missing) = said.unwrap_or_else(|error| panic!("{error:#}: {}", agent.log()));
    assert_eq!((moving.phase, moving.reason.as_deref()), (ImagePhase::Warm, Some("RefreshFailed")));
    assert_eq!((missing.phase, missing.reason.as_deref()), (ImagePhase::Failed, Some("PullFailed")));
    let fixed = set.seen(&fixed).unwrap();
    assert_eq!((fixed.phase, fixed.reason), (ImagePhase::Warm, None));
}

#[test]
fn a_pin_reaches_the_kubelet_where_the_runtime_has_pins_and_goes_again() {
    let registry = Registry::start().unwrap();
    let image = registry.push(&small("pin"), "agent/pin:1").unwrap();
    on_each(|containerd| {
        let set = Set::create(shared(), vec![ImageWanted { pin: true, ..wanted(&image) }]);
        let _agent = Agent::start(&set, containerd);
        set.ready()?;
        let is_pinned = || -> Result<bool> {
            Ok(containerd.image_status(&image.to_string())?.is_some_and(|image| image.pinned))
        };
        let becomes = |pinned: bool| {
            until("the pin", BACK, || {
                ensure!(is_pinned()? == pinned, "not {pinned}");
                Ok(())
            })
        };
        if containerd.version().starts_with("1.6") {
            return Ok(());
        }
        becomes(true)?;
        set.want(vec![wanted(&image)], None);
        becomes(false)
    })
    .unwrap();
    let node = CriServer::start(|_| Answer::Pulled).unwrap();
    let set = Set::create(shared(), vec![ImageWanted { pin: true, ..wanted(&"r.example/a:1") }]);
    let _agent = Agent::start_at(&set, &node.socket(), shared().kubeconfig(), &[]);
    set.ready().unwrap();
    until("it says that it cannot pin", SOON, || {
        let seen = set.seen(&"r.example/a:1")?;
        ensure!(seen.reason.as_deref() == Some("PinUnavailable"), "{seen:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn told_to_end_it_ends_soon_also_with_pulls_under_way_and_probes_say_how_it_is() {
    let node = CriServer::start(|_| Answer::Hangs).unwrap();
    let set = Set::create(shared(), vec![wanted(&"r.example/a:1")]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("--metrics-address=127.0.0.1:{port}");
    let agent = Agent::start_at(&set, &node.socket(), shared().kubeconfig(), &[&address]);
    let get = |path: &str| -> Result<String> {
        let url = format!("http://127.0.0.1:{port}{path}");
        let http = reqwest::Client::builder().no_proxy().build()?;
        shared().wait(async move { Ok(http.get(url).send().await?.error_for_status()?.text().await?) })
    };
    until("it is ready", SOON, || get("/readyz")).unwrap();
    until("it pulls", SOON, || {
        ensure!(!node.pulls().is_empty(), "no pull");
        Ok(())
    })
    .unwrap();
    assert_eq!(get("/healthz").unwrap(), "ok\n");
    let metrics = get("/metrics").unwrap();
    assert!(metrics.contains("larder_agent_runtime_up 1\n"), "{metrics}");
    let seen = until("it says so", SOON, || {
        let seen = set.seen(&"r.example/a:1")?;
        ensure!(seen.source == Some(Source::Pulled), "{seen:?}");
        Ok(seen)
    });
    assert!(matches!(seen.unwrap().phase, ImagePhase::Pending | ImagePhase::Pulling));
    let begun = Instant::now();
    agent.stop().unwrap();
    println!("ended after {:?}", begun.elapsed());
}
