//! What is decided in every situation that the design names, with a clock and a runtime of the tests' own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use larder_api::{ImagePhase, ImageReason, ImageSeen as Said};
use larder_api::{ImageWanted, NodeImageSet, NodeImageSetSpec, PullPolicy, Source};

use super::super::decide::Action;
use super::*;
use crate::fetch::{NoRoom, Present as Came};

const A: &str = "r.io/a:1";
const MOVING: &str = "r.io/a:latest";
const LOW: u8 = 80;
const SECOND: Duration = Duration::from_secs(1);

/// An agent without the world: time goes on when it is told to.
struct Scene {
    spec: Spec,
    state: State,
    now: Now,
    announced: bool,
    used: u64,
    images: Vec<ImageSeen>,
}

fn wanted(image: &str) -> ImageWanted {
    ImageWanted { image: image.to_owned(), ..ImageWanted::default() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

impl Scene {
    fn new(images: Vec<ImageWanted>) -> Self {
        let now = Now { time: at(1000), at: Instant::now(), chance: 0.5 };
        let (spec, state) = (Spec::default(), State::default());
        let mut scene = Self { spec, state, now, announced: true, used: 10, images: Vec::new() };
        scene.want(images, None);
        scene
    }

    fn want(&mut self, images: Vec<ImageWanted>, refresh_seconds: Option<i64>) {
        self.spec = Spec::of(&NodeImageSet::new("n", NodeImageSetSpec { images, refresh_seconds }));
    }

    fn recover(&mut self, seen: Said) {
        self.state.recover(&NodeImageSetStatus { images: vec![seen], ..NodeImageSetStatus::default() });
    }

    fn pass(&mut self, seconds: u32) -> &mut Self {
        self.now.at += SECOND * seconds;
        self.now.time += SECOND * seconds;
        self
    }

    fn has(&mut self, names: &[&str]) -> &mut Self {
        let image = |name: &&str| ImageSeen {
            id: format!("id of {name}"),
            tags: vec![(*name).to_owned()],
            digests: vec!["r.io/a@sha256:aa".to_owned()],
            size: 7,
            pinned: false,
        };
        self.images = names.iter().map(image).collect();
        self
    }

    /// A second later the runtime is looked at.
    fn look(&mut self) -> Vec<Action> {
        self.pass(1);
        let space = Some(Space { size: 100, free: 100 - self.used });
        let look = Look { begun: self.now.at, images: self.images.clone(), space };
        self.state.look(&self.spec, &look, LOW, self.now);
        self.decide()
    }

    fn decide(&mut self) -> Vec<Action> {
        let announced = self.announced;
        self.state.decide(&self.spec, |_| announced, self.now)
    }

    fn ends(&mut self, image: &str, outcome: Outcome) {
        self.pass(1);
        self.state.pulled(&self.spec, image, outcome, None, self.now);
    }

    /// As the status has it.
    fn said(&self, image: &str) -> Said {
        let status = self.state.status(&self.spec, None, None, self.now.time);
        status.images.into_iter().find(|seen| seen.image == image).unwrap()
    }

    fn phase(&self, image: &str) -> (ImagePhase, Option<Source>) {
        let said = self.said(image);
        (said.phase, said.source)
    }

    fn reason(&self, image: &str) -> Option<String> {
        self.said(image).reason
    }
}

fn pull(image: &str) -> Vec<Action> {
    vec![Action::Pull { image: image.to_owned(), spread: true }]
}

fn again(image: &str) -> Vec<Action> {
    vec![Action::Pull { image: image.to_owned(), spread: false }]
}

const CAME: Outcome = Ok(Came::Pulled { size: 7, attempts: 1, took: SECOND });

fn refused() -> Outcome {
    Err(Missing::Permanent("manifest unknown".to_owned()))
}

fn word(reason: ImageReason) -> String {
    reason.name().to_owned()
}

const OURS: Option<Source> = Some(Source::Pulled);
const FOUND: Option<Source> = Some(Source::Found);

#[test]
fn an_image_is_announced_then_pulled_then_confirmed_and_ours() {
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.announced = false;
    assert_eq!(scene.decide(), [], "before the first look nothing is known");
    assert_eq!(scene.look(), []);
    assert_eq!(scene.phase(A), (ImagePhase::Pending, OURS));
    scene.announced = true;
    assert_eq!(scene.decide(), pull(A));
    assert_eq!(scene.decide(), [], "it is pulled once");
    scene.state.begun(A);
    scene.state.progressed(A, 1, 4);
    assert_eq!((scene.phase(A), scene.said(A).percent), ((ImagePhase::Pulling, OURS), Some(25)));
    scene.ends(A, CAME);
    assert_eq!(scene.decide(), [], "the runtime has not confirmed it yet");
    assert_eq!(scene.phase(A), (ImagePhase::Pulling, OURS));
    assert_eq!(scene.has(&[A]).look(), []);
    let said = scene.said(A);
    assert_eq!((said.phase, said.source), (ImagePhase::Warm, OURS));
    assert_eq!((said.digest.as_deref(), said.bytes), (Some("sha256:aa"), Some(7)));
    assert_eq!(said.verified_at, Some(Time(scene.now.time)));
}

#[test]
fn what_was_there_or_came_by_others_is_not_ours() {
    let mut scene = Scene::new(vec![wanted(A)]);
    assert_eq!(scene.has(&[A]).look(), []);
    assert_eq!(scene.phase(A), (ImagePhase::Warm, FOUND));

    let mut scene = Scene::new(vec![wanted(A)]);
    assert_eq!(scene.look(), pull(A));
    assert_eq!(scene.has(&[A]).look(), [Action::GiveUp { image: A.to_owned() }], "before its turn came");
    assert_eq!(scene.phase(A), (ImagePhase::Warm, FOUND));

    let mut scene = Scene::new(vec![wanted(A)]);
    scene.look();
    scene.state.begun(A);
    assert_eq!(scene.has(&[A]).look(), [], "half a pull or another's: its end will tell");
    scene.ends(A, refused());
    scene.look();
    assert_eq!(scene.phase(A), (ImagePhase::Warm, FOUND));
}

#[test]
fn after_a_crash_the_status_tells_whose_an_image_is() {
    let table = [
        (ImagePhase::Pending, OURS, OURS),
        (ImagePhase::Pulling, OURS, OURS),
        (ImagePhase::Warm, OURS, OURS),
        (ImagePhase::Warm, FOUND, FOUND),
        (ImagePhase::Failed, None, FOUND),
        (ImagePhase::Pending, None, FOUND),
        (ImagePhase::Kept, OURS, OURS),
    ];
    for (phase, source, expected) in table {
        let said = Said { image: A.to_owned(), phase, source, ..Said::default() };
        let mut scene = Scene::new(vec![wanted(A)]);
        scene.recover(said.clone());
        assert_eq!(scene.said(A), said, "until the runtime was looked at");
        assert_eq!(scene.has(&[A]).look(), []);
        assert_eq!(scene.phase(A), (ImagePhase::Warm, expected), "{phase:?} {source:?}");

        let mut scene = Scene::new(vec![wanted(A)]);
        scene.recover(said);
        let spread = phase != ImagePhase::Warm;
        assert_eq!(scene.look(), [Action::Pull { image: A.to_owned(), spread }], "{phase:?}");
        assert_eq!(scene.phase(A), (ImagePhase::Pending, OURS));
    }
}

#[test]
fn a_look_from_before_the_end_of_a_pull_tells_nothing() {
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.look();
    scene.state.begun(A);
    let look = Look { begun: scene.now.at, images: Vec::new(), space: None };
    scene.ends(A, CAME);
    scene.state.look(&scene.spec, &look, LOW, scene.now);
    assert_eq!(scene.decide(), []);
    assert_eq!(scene.phase(A), (ImagePhase::Pulling, OURS));
}

#[test]
fn what_is_removed_comes_back_unless_the_disk_is_too_full() {
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.has(&[A]).look();
    assert_eq!(scene.has(&[]).look(), again(A), "at once");
    assert_eq!(scene.phase(A), (ImagePhase::Pending, OURS));
    scene.ends(A, CAME);
    scene.has(&[A]).look();

    scene.used = u64::from(LOW);
    assert_eq!(scene.has(&[]).look(), []);
    assert_eq!(
        (scene.phase(A).0, scene.reason(A)),
        (ImagePhase::Failed, Some(word(ImageReason::DiskPressure)))
    );
    scene.used = u64::from(LOW) - 1;
    assert_eq!(scene.look(), [], "it is held");
    assert_eq!(scene.pass(30).look(), again(A));
    assert_eq!(scene.phase(A), (ImagePhase::Pending, OURS), "and announced, to be ours again");
}

#[test]
fn a_full_disk_is_waited_for_longer_each_time_and_never_asked_for_nothing() {
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.has(&[A]).look();
    scene.used = 99;
    scene.has(&[]).look();
    let mut looks = Vec::new();
    for _ in 0..3 {
        let before = scene.now.at;
        let held = scene.state.records[A].pull;
        while scene.state.records[A].pull == held {
            assert_eq!(scene.look(), []);
        }
        looks.push((scene.now.at - before).as_secs());
    }
    assert!(looks.is_sorted() && looks[2] > 2 * looks[0], "{looks:?}");
}

#[test]
fn failures_say_what_they_are_and_whether_they_end() {
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.look();
    scene.state.failed(A, "connection refused", None);
    assert_eq!(
        (scene.phase(A), scene.reason(A)),
        ((ImagePhase::Failed, None), Some(word(ImageReason::PullFailed)))
    );
    scene.state.failed(A, "401", Some("secret n/s: forbidden".to_owned()));
    assert_eq!(scene.reason(A), Some(word(ImageReason::SecretNotReadable)));
    assert_eq!(scene.said(A).message.as_deref(), Some("secret n/s: forbidden; 401"));
    scene.ends(A, refused());
    assert_eq!(scene.reason(A), Some(word(ImageReason::PullRefused)));
    assert_eq!(scene.pass(100_000).look(), [], "without a refresh it is not tried again");

    let mut scene = Scene::new(vec![wanted(A)]);
    scene.look();
    scene.ends(A, Err(Missing::NoRoom(NoRoom { room: 1, registry_size: None })));
    assert_eq!((scene.reason(A), scene.look()), (Some(word(ImageReason::NoRoom)), vec![]));
    assert_eq!(scene.pass(60).look(), again(A), "room may have come");

    let mut scene = Scene::new(vec![wanted(A)]);
    scene.look();
    scene.pass(1);
    scene.state.pulled(&scene.spec, A, refused(), Some("secret n/s: forbidden".to_owned()), scene.now);
    assert_eq!((scene.reason(A), scene.look()), (Some(word(ImageReason::SecretNotReadable)), vec![]));
    assert_eq!(scene.pass(60).look(), again(A), "the secret may have come");

    let mut scene = Scene::new(vec![wanted("Not/An image")]);
    assert_eq!(scene.look(), []);
    assert_eq!(scene.reason("Not/An image"), Some(word(ImageReason::InvalidReference)));
    scene.want(vec![purge("Not/An image", "1")], None);
    assert_eq!((scene.look(), scene.phase("Not/An image").0), (vec![], ImagePhase::Removed));
}

#[test]
fn what_was_refused_is_tried_again_with_the_refresh_or_when_asked_for() {
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.want(vec![wanted(A)], Some(600));
    scene.look();
    scene.ends(A, refused());
    assert_eq!(scene.pass(500).look(), []);
    assert_eq!(scene.pass(200).look(), again(A));
    scene.ends(A, refused());
    let after = Time(scene.now.time + SECOND);
    scene.want(vec![ImageWanted { verify_after: Some(after), ..wanted(A) }], None);
    assert_eq!(scene.look(), again(A));
    scene.ends(A, refused());
    assert_eq!(scene.look(), [], "once for each moment");
}

#[test]
fn moving_tags_and_the_policy_always_ask_the_registry_and_others_do_not() {
    let always = ImageWanted { pull_policy: PullPolicy::Always, ..wanted(A) };
    for (image, entry) in [(MOVING, wanted(MOVING)), (A, always)] {
        let mut scene = Scene::new(vec![entry.clone()]);
        scene.want(vec![entry], Some(600));
        assert_eq!(scene.has(&[image]).look(), pull(image), "when it comes into the set");
        assert_eq!(scene.phase(image).0, ImagePhase::Pending);
        scene.ends(image, CAME);
        assert_eq!(scene.look(), []);
        assert_eq!(scene.phase(image), (ImagePhase::Warm, FOUND), "a newer one does not make it ours");
        assert_eq!(scene.pass(500).look(), []);
        assert_eq!(scene.pass(200).look(), pull(image), "after the refresh period");
        assert_eq!(scene.phase(image).0, ImagePhase::Warm, "it stays warm meanwhile");
    }
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.want(vec![wanted(A)], Some(600));
    scene.has(&[A]).look();
    assert_eq!(scene.pass(10_000).look(), []);
}

#[test]
fn nodes_that_start_together_do_not_refresh_together() {
    let moments: Vec<bool> = [0.1, 0.9]
        .map(|chance| {
            let mut scene = Scene::new(vec![]);
            scene.now.chance = chance;
            scene.want(vec![wanted(MOVING)], Some(1000));
            scene.recover(Said { image: MOVING.to_owned(), phase: ImagePhase::Warm, ..Said::default() });
            assert_eq!(scene.has(&[MOVING]).look(), [], "a restart refreshes nothing");
            !scene.pass(500).look().is_empty()
        })
        .into();
    assert_eq!(moments, [true, false]);
}

#[test]
fn verify_after_wants_a_new_confirmation_and_by_the_policy_a_pull() {
    let ask = |image: &str, after: Timestamp| {
        vec![ImageWanted { verify_after: Some(Time(after)), ..wanted(image) }]
    };
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.has(&[A]).look();
    let ahead = scene.now.time + SECOND * 3600;
    scene.want(ask(A, ahead), None);
    assert!(scene.said(A).verified_at < Some(Time(ahead)));
    assert_eq!(scene.look(), []);
    assert_eq!(scene.said(A).verified_at, Some(Time(ahead)), "whoever's clock is ahead");

    let mut scene = Scene::new(vec![wanted(MOVING)]);
    scene.has(&[MOVING]).look();
    scene.ends(MOVING, CAME);
    scene.look();
    let before = scene.said(MOVING).verified_at;
    scene.want(ask(MOVING, scene.now.time + SECOND), None);
    assert_eq!(scene.look(), pull(MOVING));
    scene.look();
    assert_eq!(scene.said(MOVING).verified_at, before, "not before the registry was asked");
    scene.ends(MOVING, Err(Missing::Permanent("gone".to_owned())));
    scene.look();
    let said = scene.said(MOVING);
    assert_eq!((said.phase, said.reason), (ImagePhase::Warm, Some(word(ImageReason::RefreshFailed))));
    assert!(said.verified_at > before, "what is there is there, and says what went wrong");
}

fn purge(image: &str, token: &str) -> ImageWanted {
    ImageWanted { purge: Some(token.to_owned()), ..wanted(image) }
}

fn leave(image: &str, token: &str) -> Vec<Action> {
    vec![Action::Purge { image: image.to_owned(), token: token.to_owned() }]
}

#[test]
fn a_purge_is_acted_on_once_for_each_token() {
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.look();
    scene.ends(A, CAME);
    scene.has(&[A]).look();
    scene.want(vec![purge(A, "1")], None);
    assert_eq!(scene.decide(), leave(A, "1"));
    let why = Failure { reason: ImageReason::InUse, message: "used".to_owned() };
    scene.state.purged(A, "1".to_owned(), Purged::Kept(why), scene.now);
    assert_eq!(scene.pass(1000).look(), [], "never later");
    let said = scene.said(A);
    assert_eq!((said.phase, said.purge.as_deref()), (ImagePhase::Kept, Some("1")));
    assert_eq!((said.reason, said.source), (Some(word(ImageReason::InUse)), OURS));

    let mut restarted = Scene::new(vec![purge(A, "1")]);
    restarted.recover(scene.said(A));
    assert_eq!(restarted.has(&[A]).look(), [], "not after a restart either");
    assert_eq!(restarted.phase(A), (ImagePhase::Kept, OURS));

    scene.want(vec![purge(A, "2")], None);
    assert_eq!(scene.look(), leave(A, "2"), "another purge counts");
    scene.state.purged(A, "2".to_owned(), Purged::Removed, scene.now);
    assert_eq!(scene.has(&[]).look(), [], "and it is not pulled again");
    assert_eq!(scene.phase(A), (ImagePhase::Removed, None));
    scene.want(vec![wanted(A)], None);
    assert_eq!(scene.look(), pull(A), "until it is wanted again");
}

#[test]
fn a_purge_ends_a_pull_first_and_a_purge_that_is_withdrawn_leaves_the_image() {
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.look();
    scene.want(vec![purge(A, "1")], None);
    assert_eq!(scene.decide(), [Action::GiveUp { image: A.to_owned() }]);
    assert_eq!(scene.decide(), leave(A, "1"));
    scene.want(vec![wanted(A)], None);
    assert_eq!(scene.has(&[A]).look(), []);
    assert_eq!(scene.phase(A).0, ImagePhase::Warm);
}

#[test]
fn images_that_nobody_wants_are_forgotten_and_left() {
    let mut scene = Scene::new(vec![wanted(A), wanted("r.io/b:1")]);
    scene.has(&["r.io/b:1"]).look();
    scene.want(vec![], None);
    assert_eq!(scene.decide(), [Action::GiveUp { image: A.to_owned() }]);
    assert!(scene.state.records.is_empty());
}

#[test]
fn a_pin_is_told_once_and_again_after_a_pull() {
    let pin = |pinned| vec![Action::Pin { image: A.to_owned(), pinned }];
    let mut scene = Scene::new(vec![ImageWanted { pin: true, ..wanted(A) }]);
    assert_eq!(scene.has(&[A]).look(), pin(true));
    scene.state.pinned(A, true, None);
    assert_eq!((scene.look(), scene.reason(A)), (vec![], None));
    scene.has(&[]).look();
    scene.ends(A, CAME);
    assert_eq!(scene.has(&[A]).look(), pin(true));
    scene.state.pinned(A, true, Some("CRI alone has no pins".to_owned()));
    assert_eq!(scene.look(), []);
    assert_eq!(
        (scene.phase(A).0, scene.reason(A)),
        (ImagePhase::Warm, Some(word(ImageReason::PinUnavailable)))
    );
    scene.want(vec![wanted(A)], None);
    assert_eq!(scene.look(), [], "one that the runtime does not pin is not unpinned");
    scene.images[0].pinned = true;
    assert_eq!(scene.look(), pin(false));
}

#[test]
fn when_the_runtime_goes_away_pulls_begin_anew_and_keep_their_claim() {
    let mut scene = Scene::new(vec![wanted(A)]);
    scene.look();
    scene.state.begun(A);
    scene.state.interrupted();
    assert_eq!(scene.decide(), []);
    assert_eq!(scene.look(), pull(A));
    assert_eq!(scene.phase(A), (ImagePhase::Pending, OURS));
}
