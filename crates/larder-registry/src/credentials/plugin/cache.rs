//! Answers that may be used again. Pure: the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use larder_core::ImageRef;

use super::answer::{Answer, KeyType};

/// Of a list with more images that each have an answer of their own, some are asked for again.
const MOST: usize = 10_000;

/// What an answer is for.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Image(String),
    Registry(String),
    Global,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    answers: HashMap<Key, (Instant, Answer)>,
}

impl Cache {
    /// The answer that is good for `image`, from the narrowest to the widest.
    pub(super) fn get(&self, image: &ImageRef, now: Instant) -> Option<&Answer> {
        let keys = [KeyType::Image, KeyType::Registry, KeyType::Global].map(|kind| key(kind, image));
        let kept = keys.iter().filter_map(|key| self.answers.get(key));
        kept.into_iter().find(|(until, _)| now < *until).map(|(_, answer)| answer)
    }

    /// Keeps `answer`, which was given for `image`, as long as it says, else for `default`.
    pub(super) fn put(&mut self, image: &ImageRef, answer: Answer, default: Duration, now: Instant) {
        let keep = answer.keep.unwrap_or(default);
        if keep.is_zero() {
            return;
        }
        // One that can be kept beyond all clocks is kept for a day.
        let until = now.checked_add(keep).unwrap_or(now + Duration::from_hours(24));
        if self.answers.len() >= MOST {
            self.answers.clear();
        }
        self.answers.insert(key(answer.key_type, image), (until, answer));
    }
}

fn key(kind: KeyType, image: &ImageRef) -> Key {
    match kind {
        KeyType::Image => Key::Image(image.name()),
        KeyType::Registry => Key::Registry(image.registry().to_owned()),
        KeyType::Global => Key::Global,
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer;
    use super::*;

    const V1: &str = "credentialprovider.kubelet.k8s.io/v1";

    fn answer(kind: &str, keep: &str) -> Answer {
        let text = format!(
            r#"{{"kind": "CredentialProviderResponse", "apiVersion": "{V1}", "cacheKeyType": "{kind}", "cacheDuration": {keep}}}"#
        );
        answer::parse("p", V1, text.as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_serves_the_images_that_its_key_type_names_until_its_time_is_over() {
        let [a1, a2, b] =
            ["a.io/x:1", "a.io/y:1", "b.io/x:1"].map(|image| image.parse::<ImageRef>().unwrap());
        let (now, minute) = (Instant::now(), Duration::from_mins(1));
        let serves = |kind, keep, at| {
            let mut cache = Cache::default();
            cache.put(&a1, answer(kind, keep), minute, now);
            [&a1, &a2, &b].map(|image| cache.get(image, at).is_some())
        };
        assert_eq!(serves("Image", "null", now), [true, false, false]);
        assert_eq!(serves("Registry", "null", now), [true, true, false]);
        assert_eq!(serves("Global", "null", now), [true, true, true]);
        assert_eq!(serves("Global", "null", now + minute), [false; 3]);
        assert_eq!(serves("Global", "\"2m\"", now + minute), [true; 3]);
        assert_eq!(serves("Global", "\"0s\"", now), [false; 3]);
        assert_eq!(serves("Global", "\"2562047h\"", now), [true; 3]);
    }
}
