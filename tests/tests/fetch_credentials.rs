//! Several credentials for one image: the first that works ends it, and a bad one never keeps a good one waiting.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use larder_core::ImageRef;
use larder_node::Attempt;
use larder_node::cri::Auth;
use larder_node::fetch::{
    Event, FetchOptions, FetchReport, ImageList, Limits, MinFree, Missing, Offer, Present, Registries,
    Reporter, fetch,
};
use larder_tests::cri_server::{Answer, CriServer, IMAGE_SIZE, Pull};
use tonic::Code;

/// The same credentials for every image.
struct Users(&'static [&'static str]);

impl Registries for Users {
    async fn credentials(&self, _image: &ImageRef) -> Offer {
        Offer { credentials: auths_of(self.0), more_to_come: false }
    }

    async fn size(&self, _image: &ImageRef) -> Option<u64> {
        None
    }
}

/// Nothing is there at first; who is waited for comes with the third question.
struct Late(Cell<u32>);

impl Registries for Late {
    async fn credentials(&self, _image: &ImageRef) -> Offer {
        self.0.set(self.0.get() + 1);
        let here = self.0.get() >= 3;
        Offer { credentials: if here { auths_of(&["good"]) } else { Vec::new() }, more_to_come: !here }
    }

    async fn size(&self, _image: &ImageRef) -> Option<u64> {
        None
    }
}

fn auths_of(users: &[&str]) -> Vec<Option<Auth>> {
    users.iter().map(|user| (!user.is_empty()).then(|| auth_of(user))).collect()
}

fn auth_of(user: &str) -> Auth {
    Auth { username: user.to_owned(), password: "secret".to_owned(), ..Auth::default() }
}

#[derive(Default)]
struct Told(RefCell<Vec<Attempt>>);

impl Reporter for Told {
    fn event(&self, event: Event<'_>) {
        if let Event::Attempted(attempt) = event {
            self.0.borrow_mut().push(attempt.clone());
        }
    }
}

fn options(node: &CriServer) -> FetchOptions {
    FetchOptions {
        socket: node.socket(),
        limits: Limits { initial_delay: Duration::from_millis(100), ..Limits::default() },
        overall: Duration::from_secs(20),
        max_parallel: NonZeroUsize::MIN,
        start_spread: Duration::ZERO,
        node: "node-1".to_owned(),
        min_free: MinFree::Bytes(0),
        insist_on_floor: false,
        always: false,
        count_within: None,
    }
}

fn run(node: &CriServer, users: &'static [&'static str]) -> (FetchReport, Vec<Attempt>, Duration) {
    run_with(node, &Users(users))
}

fn run_with(node: &CriServer, registries: &impl Registries) -> (FetchReport, Vec<Attempt>, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (told, begun) = (Told::default(), Instant::now());
    let list = ImageList::parse(["h.example/a:1"]);
    let report = runtime.block_on(fetch(list, &options(node), registries, &told)).unwrap();
    (report, told.0.into_inner(), begun.elapsed())
}

fn script(pull: &Pull) -> Answer {
    match pull.user.as_deref() {
        Some("good") => Answer::Pulled,
        Some("hangs") => Answer::Hangs,
        _ => Answer::Fails(Code::Unknown, "unauthorized: who are you".to_owned()),
    }
}

fn users(node: &CriServer) -> Vec<Option<String>> {
    node.pulls().into_iter().map(|pull| pull.user).collect()
}

fn some(names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| (!name.is_empty()).then(|| (*name).to_owned())).collect()
}

#[test]
fn a_denied_credential_makes_way_at_once_and_the_first_that_works_ends_it() {
    let node = CriServer::start(script).unwrap();
    let (report, attempts, took) = run(&node, &["bad", "worse", "good", "never-asked"]);
    assert!(matches!(report.images[0].1, Ok(Present::Pulled { attempts: 1, .. })), "{report:?}");
    assert_eq!(users(&node), some(&["bad", "worse", "good"]));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let errors: Vec<bool> = attempts.iter().map(|attempt| attempt.error.is_some()).collect();
    assert_eq!((errors, attempts[2].size_bytes), (vec![true, true, false], IMAGE_SIZE));
    assert!(attempts.iter().all(|attempt| attempt.image == "h.example/a:1"));
    assert!(!format!("{attempts:?}").contains("secret"));
}

#[test]
fn a_credential_that_hangs_does_not_hold_up_the_one_that_works() {
    let node = CriServer::start(script).unwrap();
    let (report, _, took) = run(&node, &["hangs", "good"]);
    assert!(!report.has_failures(), "{report:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_denied_credential_is_not_asked_again_when_another_may_still_work() {
    let node = CriServer::start(|pull: &Pull| match (pull.user.as_deref(), pull.nth) {
        (Some("late"), 1..=3) => Answer::Fails(Code::Unknown, "503 Service Unavailable".to_owned()),
        (Some("late"), _) => Answer::Pulled,
        _ => Answer::Fails(Code::Unknown, "unauthorized".to_owned()),
    })
    .unwrap();
    let (report, _, _) = run(&node, &["bad", "late"]);
    assert!(!report.has_failures(), "{report:?}");
    assert_eq!(users(&node), some(&["bad", "late", "late", "late"]));
}

#[test]
fn when_every_credential_is_denied_the_image_is_given_up_at_once() {
    let node = CriServer::start(script).unwrap();
    let (report, attempts, took) = run(&node, &["bad", ""]);
    let (image, Err(Missing::Permanent(reason))) = &report.images[0] else { unreachable!("{report:?}") };
    assert_eq!((image.as_str(), attempts.len()), ("h.example/a:1", 2));
    assert!(reason.contains("unauthorized: who are you"), "{reason}");
    assert_eq!(users(&node), some(&["bad", ""]));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_credential_that_comes_late_is_waited_for_only_by_the_image_that_needs_it() {
    let node = CriServer::start(script).unwrap();
    let (report, _, _) = run_with(&node, &Late(Cell::new(0)));
    assert!(matches!(report.images[0].1, Ok(Present::Pulled { attempts: 2, .. })), "{report:?}");
    // Denied without one, it is not asked again until there is another.
    assert_eq!(users(&node), some(&["", "good"]));

    let open = CriServer::start(|_: &Pull| Answer::Pulled).unwrap();
    let late = Late(Cell::new(0));
    let (report, _, _) = run_with(&open, &late);
    assert!(!report.has_failures(), "{report:?}");
    assert_eq!((users(&open), late.0.get()), (some(&[""]), 1));
}
