//! Mutation-based fuzzing of a reader of foreign bytes, on the stable toolchain: no coverage, but inputs that were answered in
//! a new way are mutated further. For tests: it panics where the reader goes wrong.
//!
//! An input that fails is kept in a file that the message names; one that hangs is in the file that the run named at its start.
//! In the target's corpus it is tried in every run.

#![expect(clippy::panic, clippy::unwrap_used, clippy::print_stdout, reason = "it is a test's engine")]

mod mutate;
pub mod tar;

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

pub use mutate::Mutator;

/// How long the short run of each target takes, in seconds.
const SECONDS: u64 = 2;
/// No input of the sizes here takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Inputs grow no larger than this, nor does the number of those that are mutated further.
const MAX_INPUT: usize = 1 << 20;
const MAX_POOL: usize = 500;

/// A kind of input.
pub struct Target<'a> {
    /// Its directory in the corpus.
    pub name: &'a str,
    /// The directory of the corpus.
    pub corpus: &'a str,
    /// What the first mutations are made of.
    pub seeds: Vec<Vec<u8>>,
    /// Mends what every honest input has, such as checksums, so that a mutation gets past them.
    pub mend: &'a dyn Fn(&mut Vec<u8>, &mut Mutator),
    /// Reads an input; panics if that goes wrong, and else says in a few words how it was answered.
    pub read: &'a mut dyn FnMut(&[u8]) -> String,
}

impl Target<'_> {
    /// Reads the corpus, the seeds, and mutations of both until the time is over.
    pub fn run(self) {
        let Self { name, corpus, seeds, mend, read } = self;
        let (seconds, seed) = (number("LARDER_FUZZ_SECONDS", SECONDS), number("LARDER_FUZZ_SEED", 1));
        let corpus = Path::new(corpus).join(name);
        let mut mutator = Mutator::new(seed);
        let mut answers = HashSet::new();
        let mut pool = inputs_in(&corpus);
        pool.extend(seeds);
        assert!(!pool.is_empty(), "{name} has no inputs");
        let mut attempts = Attempts { name, seed, corpus: &corpus, under_way: UnderWay::of(name), read };
        println!("{name}: the input that is being read is in {}", attempts.under_way.path.display());
        for input in &pool {
            answers.insert(attempts.attempt(input));
        }
        let started = Instant::now();
        let mut tried = 0;
        while started.elapsed() < Duration::from_secs(seconds) {
            let mut input = mutator.mutate(&pool);
            mend(&mut input, &mut mutator);
            input.truncate(MAX_INPUT);
            tried += 1;
            if answers.insert(attempts.attempt(&input)) && pool.len() < MAX_POOL {
                pool.push(input);
            }
        }
        println!("{name}: {tried} inputs from seed {seed}, {} different answers", answers.len());
        assert!(tried > 10, "{name}: only {tried} inputs");
    }
}

/// The file with the input that is being read: all that is left when a run hangs and is killed.
struct UnderWay {
    file: File,
    path: PathBuf,
}

impl UnderWay {
    fn of(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("larder-fuzz-{name}-under-way-{}", std::process::id()));
        Self { file: File::create(&path).unwrap(), path }
    }

    fn set(&self, input: &[u8]) {
        self.file.write_all_at(input, 0).unwrap();
        self.file.set_len(input.len() as u64).unwrap();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
    }
}

struct Attempts<'a> {
    name: &'a str,
    seed: u64,
    corpus: &'a Path,
    under_way: UnderWay,
    read: &'a mut dyn FnMut(&[u8]) -> String,
}

impl Attempts<'_> {
    /// Reads one input; it is kept if that panics or takes long. Numbers and quotations in the answer do not make it another one.
    fn attempt(&mut self, input: &[u8]) -> String {
        let Self { name, seed, corpus, under_way, read } = self;
        under_way.set(input);
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
                fs::write(&path, input).unwrap();
                let what = if answer.is_err() { "fails".to_owned() } else { format!("takes {took:?}") };
                panic!(
                    "{name}: an input from seed {seed} {what}; it is in {}: to try it in every run, copy it to {}",
                    path.display(),
                    corpus.display()
                );
            }
        }
    }
}

fn inputs_in(corpus: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = match fs::read_dir(corpus) {
        Ok(files) => files.map(|file| file.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| u64::from_str(&text).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_fails_is_kept() {
        let mut read = |input: &[u8]| {
            assert!(!input.contains(&b'!'));
            String::new()
        };
        let target = Target {
            name: "self",
            corpus: "",
            seeds: vec![b"0".to_vec()],
            mend: &|input, _| input.push(b'!'),
            read: &mut read,
        };
        let failure = catch_unwind(AssertUnwindSafe(|| target.run())).unwrap_err();
        let message = failure.downcast_ref::<String>().unwrap();
        let path = message.split(" it is in ").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
        assert!(fs::read(path).unwrap().ends_with(b"!"), "{message}");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_input_is_in_a_file_while_it_is_read() {
        let corpus = tempfile::tempdir().unwrap();
        let name = "under-way";
        fs::create_dir(corpus.path().join(name)).unwrap();
        fs::write(corpus.path().join(name).join("input"), "of the corpus").unwrap();
        let path = UnderWay::of(name).path.clone();
        let mut read = |input: &[u8]| {
            assert_eq!(fs::read(&path).unwrap(), input);
            String::new()
        };
        let corpus = corpus.path().to_str().unwrap();
        let seeds = vec![vec![b'x'; 1000], b"short".to_vec()];
        Target { name, corpus, seeds, mend: &|_, _| {}, read: &mut read }.run();
        assert!(!path.exists());
    }
}
