//! Mutation-based fuzzing of every reader of foreign bytes, on the stable toolchain: no coverage, but inputs that were answered in
//! a new way are mutated further.
//!
//! A short run is part of the tests; `cargo xtask fuzz` runs longer. An input that fails is kept in a file that the message names;
//! in `fuzz/corpus/TARGET/` it is tried in every run.

mod disk;
mod documents;
mod inflate;
mod layer;
mod mutate;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use mutate::Mutator;

/// How long the short run of each target takes, in seconds.
const SECONDS: u64 = 2;
/// No input of the sizes here takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Inputs grow no larger than this, nor does the number of those that are mutated further.
const MAX_INPUT: usize = 1 << 20;
const MAX_POOL: usize = 500;

/// A kind of input.
struct Target<'a> {
    name: &'a str,
    seeds: Vec<Vec<u8>>,
    /// Mends what every honest input has, such as checksums, so that a mutation gets past them.
    mend: &'a dyn Fn(&mut Vec<u8>, &mut Mutator),
    /// Reads an input; panics if that goes wrong, and else says in a few words how it was answered.
    read: &'a mut dyn FnMut(&[u8]) -> String,
}

impl Target<'_> {
    /// Reads the corpus, the seeds, and mutations of both until the time is over.
    fn run(self) {
        let Self { name, seeds, mend, read } = self;
        let (seconds, seed) = (number("LARDER_FUZZ_SECONDS", SECONDS), number("LARDER_FUZZ_SEED", 1));
        let mut mutator = Mutator::new(seed);
        let mut answers = HashSet::new();
        let mut pool = corpus(name);
        pool.extend(seeds);
        assert!(!pool.is_empty(), "{name} has no inputs");
        for input in &pool {
            answers.insert(attempt(name, seed, input, read));
        }
        let started = Instant::now();
        let mut tried = 0;
        while started.elapsed() < Duration::from_secs(seconds) {
            let mut input = mutator.mutate(&pool);
            mend(&mut input, &mut mutator);
            input.truncate(MAX_INPUT);
            tried += 1;
            if answers.insert(attempt(name, seed, &input, read)) && pool.len() < MAX_POOL {
                pool.push(input);
            }
        }
        println!("{name}: {tried} inputs from seed {seed}, {} different answers", answers.len());
        assert!(tried > 10, "{name}: only {tried} inputs");
    }
}

/// Reads one input; it is kept if that panics or takes long. Numbers and quotations in the answer do not make it another one.
fn attempt(name: &str, seed: u64, input: &[u8], read: &mut dyn FnMut(&[u8]) -> String) -> String {
    let started = Instant::now();
    let answer = catch_unwind(AssertUnwindSafe(|| read(input)));
    let took = started.elapsed();
    match answer {
        Ok(answer) if took < PATIENCE => {
            let unquoted: String = answer.split(['`', '"', '\'']).step_by(2).collect();
            unquoted.chars().filter(|c| !c.is_ascii_digit()).take(200).collect()
        }
        answer => {
            let digest = larder_core::Digest::of(input).hex();
            let path = std::env::temp_dir().join(format!("larder-fuzz-{name}-{}", &digest[..16]));
            std::fs::write(&path, input).unwrap();
            let what = if answer.is_err() { "fails".to_owned() } else { format!("takes {took:?}") };
            let corpus = corpus_directory(name);
            panic!(
                "{name}: an input from seed {seed} {what}; it is in {}: to try it in every run, copy it to {}",
                path.display(),
                corpus.display()
            );
        }
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(corpus_directory(name)) {
        Ok(files) => files.map(|file| file.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn corpus_directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| u64::from_str(&text).unwrap())
}

#[test]
fn an_input_that_fails_is_kept() {
    let mut read = |input: &[u8]| {
        assert!(!input.contains(&b'!'));
        String::new()
    };
    let target = Target {
        name: "self",
        seeds: vec![b"0".to_vec()],
        mend: &|input, _| input.push(b'!'),
        read: &mut read,
    };
    let failure = catch_unwind(AssertUnwindSafe(|| target.run())).unwrap_err();
    let message = failure.downcast_ref::<String>().unwrap();
    let path = message.split(" it is in ").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
    assert!(std::fs::read(path).unwrap().ends_with(b"!"), "{message}");
    std::fs::remove_file(path).unwrap();
}
