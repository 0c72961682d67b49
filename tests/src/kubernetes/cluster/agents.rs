//! Agents that play their part on every node: what is wanted is warm, what is purged is gone, but for what a test says otherwise.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use larder_api::{ImagePhase, ImageSeen, ImageWanted, NodeImageSet, NodeImageSetStatus, names};
use serde_json::json;

use super::Cluster;
use crate::blocking::wait;

/// Between two looks at all sets.
const LOOK: Duration = Duration::from_millis(50);

/// What agents do otherwise.
#[derive(Debug, Default)]
pub struct Behaviour {
    /// Nodes whose agent does not answer.
    pub silent: BTreeSet<String>,
    /// Images that a container uses.
    pub in_use: BTreeSet<String>,
    /// Images that cannot be pulled.
    pub bad: BTreeSet<String>,
    /// Images whose pull does not end.
    pub slow: BTreeSet<String>,
}

/// The agents of all nodes; they end on drop.
#[derive(Debug)]
pub struct Agents {
    behaviour: Arc<Mutex<Behaviour>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agents {
    /// Begins to answer.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let behaviour = Arc::new(Mutex::new(Behaviour::default()));
        let end = Arc::new(AtomicBool::new(false));
        let sets = cluster.sets()?;
        let (shared, ended) = (Arc::clone(&behaviour), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                // An API server that is away is asked again.
                let _ = wait(answer_all(&sets, &shared));
                std::thread::sleep(LOOK);
            }
        });
        Ok(Self { behaviour, end, thread: Some(thread) })
    }

    /// What they do, to be changed.
    pub fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        locked(&self.behaviour)
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked(behaviour: &Mutex<Behaviour>) -> MutexGuard<'_, Behaviour> {
    behaviour.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer_all(sets: &Api<NodeImageSet>, behaviour: &Mutex<Behaviour>) -> Result<()> {
    for set in sets.list(&ListParams::default()).await? {
        let Some(status) = answer(&set, &locked(behaviour)) else { continue };
        let name = set.metadata.name.unwrap_or_default();
        let object = json!({
            "apiVersion": "kubefledged.io/v1alpha2", "kind": "NodeImageSet",
            "metadata": { "name": name }, "status": status,
        });
        let params = PatchParams::apply(names::AGENT).force();
        sets.patch_status(&name, &params, &Patch::Apply(object)).await?;
    }
    Ok(())
}

/// What the agent of a node says to its set, unless it said so before.
fn answer(set: &NodeImageSet, behaviour: &Behaviour) -> Option<NodeImageSetStatus> {
    let old = set.status.clone().unwrap_or_default();
    if behaviour.silent.contains(set.metadata.name.as_deref()?) {
        return None;
    }
    let before = old.by_image();
    let images = set.spec.images.iter().map(|entry| {
        let before = before.get(entry.image.as_str()).copied();
        see(entry, before, behaviour)
    });
    let status = NodeImageSetStatus {
        images: images.collect(),
        observed_generation: set.metadata.generation,
        ..NodeImageSetStatus::default()
    };
    (status != old).then_some(status)
}

fn see(entry: &ImageWanted, before: Option<&ImageSeen>, behaviour: &Behaviour) -> ImageSeen {
    let phase = match &entry.purge {
        Some(_) if behaviour.in_use.contains(&entry.image) => ImagePhase::Kept,
        Some(_) => ImagePhase::Removed,
        None if behaviour.bad.contains(&entry.image) => ImagePhase::Failed,
        None if behaviour.slow.contains(&entry.image) => ImagePhase::Pulling,
        None => ImagePhase::Warm,
    };
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let fresh = Time(now).max(entry.verify_after.clone().unwrap_or(Time(now)));
    let confirmed = before.and_then(|before| before.verified_at.clone());
    let confirmed = confirmed.filter(|at| entry.verify_after.as_ref().is_none_or(|after| at >= after));
    ImageSeen {
        image: entry.image.clone(),
        phase,
        purge: entry.purge.clone(),
        reason: (phase == ImagePhase::Failed).then(|| "NotFound".to_owned()),
        message: (phase == ImagePhase::Kept).then(|| "a container uses it".to_owned()),
        verified_at: (phase == ImagePhase::Warm).then(|| confirmed.unwrap_or(fresh)),
        ..ImageSeen::default()
    }
}
