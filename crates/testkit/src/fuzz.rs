//! A small fuzzer for the stable toolchain: mutates texts of a corpus, keeps
//! what leads to answers not seen before, and says what breaks a law.
//!
//! Half of the mutations of texts that are JSON are of their structure: members
//! and items are copied, moved, renamed, removed and replaced, so that inputs
//! stay documents; the others are of bytes.
//!
//! A target takes bytes, asserts laws (a broken one panics) and returns a
//! text that tells apart what it did with them: the feedback that coverage
//! gives where a nightly toolchain is at hand.
//!
//! Included by path: `#[path = "…/testkit/src/fuzz.rs"] mod fuzz;`.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "part of tests: a find fails them, and a person reads how far they came"
)]

use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// A target: its name, what it does, and words its inputs are made of.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]) -> String,
    pub words: &'static [&'static str],
}

/// Longest input tried.
const LONGEST: usize = 16 << 10;
/// How long a single input may take, also without optimisation.
const SLOW: Duration = Duration::from_secs(5);
/// How many inputs are tried where nobody asked for more.
const FEW: usize = 3_000;

/// Replays the corpus of a target in `folder`, then mutates it: for as many
/// seconds as the variable `WINDLASS_FUZZ_SECONDS` says, else a little.
///
/// # Panics
/// When a law is broken; the input is then in the corpus.
#[allow(clippy::disallowed_methods, reason = "time bounds the search, and tells slow inputs")]
pub fn fuzz(target: &Target, folder: &Path) {
    let folder = folder.join(target.name);
    let mut pool = corpus(&folder);
    assert!(!pool.is_empty(), "no corpus for {} in {}", target.name, folder.display());
    let mut seen = HashSet::new();
    for (path, input) in &pool {
        let start = Instant::now();
        seen.insert((target.run)(input));
        assert!(start.elapsed() < SLOW, "{} takes {:?}", path.display(), start.elapsed());
    }
    let seconds = std::env::var("WINDLASS_FUZZ_SECONDS").ok().and_then(|text| text.parse::<u64>().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let seed = seconds.map_or(1, |_| std::process::id().into());
    let mut random = Random(seed);
    let mut tried = 0;
    while end.map_or(tried < FEW, |end| Instant::now() < end) {
        tried += 1;
        let input = mutated(&pool, target.words, &mut random);
        let start = Instant::now();
        let answer = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        let slow = start.elapsed() >= SLOW;
        match answer {
            Ok(answer) if !slow => {
                if seen.insert(answer) && pool.len() < 4_096 {
                    pool.push((PathBuf::new(), input));
                }
            }
            _ => {
                let path = folder.join(format!("find-{:016x}", hash(&input)));
                fs::write(&path, &input).expect("the corpus can be written");
                let what = if slow { "is slow" } else { "breaks a law" };
                panic!("{} {what}: {}", target.name, path.display());
            }
        }
    }
    println!("{}: {tried} inputs, {} answers", target.name, seen.len());
}

fn corpus(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files.into_iter().filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes))).collect()
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn mutated(pool: &[(PathBuf, Vec<u8>)], words: &[&str], random: &mut Random) -> Vec<u8> {
    if random.below(2) == 0
        && let Some(input) = restructured(pool, words, random)
    {
        return input;
    }
    let mut input = pool[random.below(pool.len())].1.clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(32)).min(input.len());
        match random.below(8) {
            0 if !input.is_empty() => {
                let at = random.below(input.len());
                input[at] ^= 1 << random.below(8);
            }
            1 if !input.is_empty() => {
                let at = random.below(input.len());
                input[at] = random.next().to_le_bytes()[0];
            }
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                drop(input.splice(to..to, part));
            }
            4 => {
                let other = &pool[random.below(pool.len())].1;
                let from = random.below(other.len() + 1);
                let to = (from + random.below(128)).min(other.len());
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
            5 => {
                // Repetition: deep and long inputs.
                let part = input[at..end].to_vec();
                let times = 1 << random.below(9);
                drop(input.splice(at..at, part.repeat(times)));
            }
            _ if !words.is_empty() => {
                let word = words[random.below(words.len())];
                let end = if random.below(2) == 0 { at } else { end };
                drop(input.splice(at..end, word.bytes()));
            }
            _ => {}
        }
        input.truncate(LONGEST);
    }
    input
}

/// A document of the pool with another structure; `None` when none was found.
fn restructured(pool: &[(PathBuf, Vec<u8>)], words: &[&str], random: &mut Random) -> Option<Vec<u8>> {
    let pick = |random: &mut Random| {
        serde_json::from_slice::<Value>(&pool[random.below(pool.len())].1)
            .ok()
            .filter(|value| !value.is_number())
    };
    let mut document = pick(random)?;
    for _ in 0..=random.below(3) {
        let part = match random.below(4) {
            0 => part_of(&pick(random)?, random).clone(),
            1 => scalar(random),
            2 => word(words, random)?,
            _ => part_of(&document, random).clone(),
        };
        change(slot(&mut document, random), part, random);
    }
    let bytes = document.to_string().into_bytes();
    (bytes.len() <= LONGEST).then_some(bytes)
}

/// One of the words that is a value, or the member that it is.
fn word(words: &[&str], random: &mut Random) -> Option<Value> {
    let word = words.get(random.below(words.len()))?;
    serde_json::from_str(word).or_else(|_| serde_json::from_str(&format!("{{{word}}}"))).ok()
}

/// Values at the borders of their types.
fn scalar(random: &mut Random) -> Value {
    let all = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("a"),
        json!("1"),
        json!("\u{0}"),
        json!({}),
        json!([]),
    ];
    all[random.below(all.len())].clone()
}

/// A part of a document, from anywhere in it.
fn part_of<'a>(mut value: &'a Value, random: &mut Random) -> &'a Value {
    while random.below(4) > 0 {
        let below = match value {
            Value::Object(map) => map.values().nth(random.below(map.len())),
            Value::Array(list) => list.get(random.below(list.len())),
            _ => None,
        };
        let Some(below) = below else { break };
        value = below;
    }
    value
}

/// A place in a document.
fn slot<'a>(value: &'a mut Value, random: &mut Random) -> &'a mut Value {
    let size = match value {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    };
    if size == 0 || random.below(4) == 0 {
        return value;
    }
    let at = random.below(size);
    let below = match value {
        Value::Object(map) => map.values_mut().nth(at),
        Value::Array(list) => list.get_mut(at),
        _ => None,
    };
    slot(below.expect("there are so many"), random)
}

/// Changes a value, or what is in it, by means of another one.
fn change(value: &mut Value, part: Value, random: &mut Random) {
    match value {
        Value::Object(map) if random.below(5) > 0 => {
            let name = |map: &Map<String, Value>, random: &mut Random| {
                map.keys().nth(random.below(map.len())).cloned().unwrap_or_default()
            };
            let known = name(map, random);
            match (random.below(4), part) {
                (0, _) => drop(map.remove(&known)),
                (1, Value::Object(other)) => map.extend(other),
                (2, part) => drop(map.insert(known, part)),
                (_, other) => {
                    // Under the name of another member, known or not.
                    let name = other.as_object().map_or_else(|| "x".to_owned(), |other| name(other, random));
                    let moved = map.remove(&known).unwrap_or(other);
                    map.insert(name, moved);
                }
            }
        }
        Value::Array(list) if random.below(5) > 0 => {
            let at = random.below(list.len() + 1);
            match random.below(4) {
                0 if at < list.len() => drop(list.remove(at)),
                1 if at < list.len() => {
                    let again = list[at].clone();
                    list.insert(random.below(list.len() + 1), again);
                }
                2 if at < list.len() => {
                    let other = random.below(list.len());
                    list.swap(at, other);
                }
                _ => list.insert(at, part),
            }
        }
        other => *other = part,
    }
}
