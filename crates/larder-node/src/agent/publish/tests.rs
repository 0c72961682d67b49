//! When a status is written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

const VERIFY: Duration = Duration::from_mins(5);

fn seen(image: &str, phase: ImagePhase, source: Option<Source>, verified: Option<i64>) -> ImageSeen {
    let verified_at = verified.map(|seconds| Time(Timestamp::from_second(seconds).unwrap()));
    ImageSeen { image: image.to_owned(), phase, source, verified_at, ..ImageSeen::default() }
}

fn status(images: Vec<ImageSeen>) -> NodeImageSetStatus {
    NodeImageSetStatus { observed_generation: Some(1), images, ..NodeImageSetStatus::default() }
}

fn pending(image: &str) -> ImageSeen {
    seen(image, ImagePhase::Pending, Some(Source::Pulled), None)
}

fn warm(image: &str, verified: i64) -> ImageSeen {
    seen(image, ImagePhase::Warm, Some(Source::Pulled), Some(verified))
}

struct Clock(Now);

impl Clock {
    fn new() -> Self {
        Self(Now { time: Timestamp::UNIX_EPOCH, at: Instant::now(), chance: 0.5 })
    }

    fn after(&self, seconds: f64) -> Now {
        Now { at: self.0.at + Duration::from_secs_f64(seconds), ..self.0 }
    }

    fn since(&self, due: Option<Instant>) -> Option<f64> {
        due.map(|due| (due - self.0.at).as_secs_f64())
    }
}

fn due(publication: &mut Publication, status: &NodeImageSetStatus, now: Now) -> Option<Instant> {
    publication.due(&Spec::default(), status, VERIFY, now)
}

#[test]
fn a_warm_up_of_fifty_images_within_seconds_takes_two_writes_and_a_longer_one_a_write_every_ten() {
    let clock = Clock::new();
    let names: Vec<String> = (0..50).map(|n| format!("r.io/{n:02}:1")).collect();
    let at = |warm_ones: usize| {
        let of = |(n, name): (usize, &String)| if n < warm_ones { warm(name, 1) } else { pending(name) };
        status(names.iter().enumerate().map(of).collect())
    };
    for (seconds_an_image, writes) in [(0.1, 2), (0.5, 4)] {
        let mut publication = Publication::of(None, 0.5);
        let (mut written, mut time) = (0, 0.0);
        while time < 60.0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
            let now_warm = ((time / seconds_an_image) as usize).min(50);
            let now = clock.after(time);
            if due(&mut publication, &at(now_warm), now).is_some_and(|due| due <= now.at) {
                publication.wrote(at(now_warm), now);
                written += 1;
            }
            time += 0.05;
        }
        assert_eq!(publication.written, Some(at(50)));
        assert_eq!(written, writes, "{seconds_an_image} s an image");
    }
}

#[test]
fn announcements_go_at_once_and_pulls_wait_for_them_unless_nobody_takes_them() {
    let clock = Clock::new();
    let mut publication = Publication::of(None, 0.5);
    let first = status(vec![pending("a")]);
    assert_eq!(clock.since(due(&mut publication, &first, clock.0)), Some(0.0));
    assert!(!publication.announces("a"));
    publication.wrote(first, clock.0);
    assert!(publication.announces("a") && !publication.announces("b"));
    let second = status(vec![pending("a"), pending("b")]);
    assert_eq!(
        clock.since(due(&mut publication, &second, clock.after(0.1))),
        Some(1.0),
        "one write a second"
    );
    publication.failed(clock.after(2.0));
    assert!(publication.announces("b"));
    assert_eq!(clock.since(due(&mut publication, &second, clock.after(2.0))), Some(2.75));
}

#[test]
fn nothing_is_written_that_is_written_already_until_confirmations_are_old() {
    let clock = Clock::new();
    let mut publication = Publication::of(Some(status(vec![warm("a", 1000)])), 0.5);
    for (verified, is_due) in [(1000, false), (1010, false), (1299, false), (1300, true), (600, true)] {
        let due = due(&mut publication, &status(vec![warm("a", verified)]), clock.0);
        assert_eq!(due.is_some(), is_due, "{verified}");
    }
    let failed = status(vec![seen("a", ImagePhase::Failed, None, None)]);
    assert_eq!(
        clock.since(due(&mut publication, &failed, clock.0)),
        Some(1.0),
        "what changes together is written at once"
    );
}

#[test]
fn after_a_write_that_failed_the_truth_is_written_also_where_it_is_what_was_written_before() {
    let clock = Clock::new();
    let mut publication = Publication::of(Some(status(vec![warm("a", 1000)])), 0.5);
    publication.failed(clock.0);
    let same = status(vec![warm("a", 1000)]);
    assert_eq!(clock.since(due(&mut publication, &same, clock.0)), Some(1.0));
    publication.wrote(same.clone(), clock.after(1.0));
    assert_eq!(due(&mut publication, &same, clock.after(1.0)), None);
}

#[test]
fn a_confirmation_that_was_asked_for_is_written_soon() {
    let wanted = |after: i64| larder_api::ImageWanted {
        image: "r.io/a:1".to_owned(),
        verify_after: Some(Time(Timestamp::from_second(after).unwrap())),
        ..larder_api::ImageWanted::default()
    };
    let clock = Clock::new();
    for (after, is_due) in [(1005, true), (1000, false), (1011, false)] {
        let spec = larder_api::NodeImageSetSpec { images: vec![wanted(after)], refresh_seconds: None };
        let spec = Spec::of(&larder_api::NodeImageSet::new("n", spec));
        let mut publication = Publication::of(Some(status(vec![warm("r.io/a:1", 1000)])), 0.5);
        let due = publication.due(&spec, &status(vec![warm("r.io/a:1", 1010)]), VERIFY, clock.0);
        assert_eq!(due.is_some(), is_due, "{after}");
    }
}
