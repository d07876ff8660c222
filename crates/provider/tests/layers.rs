//! The layers before a provider: faults, measuring, throttling, tracing.

#![expect(clippy::unwrap_used, reason = "the fakes stand outside of test functions")]
#![allow(dead_code, reason = "the fakes are shared with the suite's own test")]

mod cloud;

use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use cloud::{Flaw, World};
use tracing_subscriber::fmt::format::FmtSpan;
use windlass_model::{Key, Time, Uid};
use windlass_provider::conformance::{Harness, MachineBench, Trouble};
use windlass_provider::{
    Call, Error, ErrorKind, Fault, Faulty, Layers, Limits, Machines, Meter, Metered, Operation, Rate, Script,
    Token,
};

#[derive(Default)]
struct Tally(Mutex<Vec<Call>>);

impl Meter for Tally {
    fn now(&self) -> Time {
        Time::from_secs(i64::try_from(self.0.lock().unwrap().len()).unwrap())
    }

    fn record(&self, call: Call) {
        self.0.lock().unwrap().push(call);
    }
}

impl Tally {
    fn told(&self) -> Vec<(&'static str, Option<ErrorKind>)> {
        self.0.lock().unwrap().iter().map(|call| (call.operation.as_str(), call.failed)).collect()
    }
}

fn token(name: &str) -> Token {
    Token::of(&Uid::from(name)).from_object(Key::new("default", name), Key::new("default", "c"))
}

#[tokio::test]
async fn a_script_of_faults_meets_its_calls_and_the_meter_sees_them() {
    let (bench, token) = (World::new(Flaw::None), token("t"));
    let script = Arc::new(Script::new([
        (Operation::CreateMachine, Fault::Before(Error::transient("lost on the way"))),
        (Operation::CreateMachine, Fault::After(Error::transient("lost on the way back"))),
    ]));
    let tally = Arc::new(Tally::default());
    let provider = Metered::new(Faulty::new(bench.machines().await, script), tally.clone());

    assert!(provider.create(&token, &bench.machine("m")).await.is_err());
    assert_eq!(bench.living_machines().await.len(), 0, "the first call never arrived");
    assert!(provider.create(&token, &bench.machine("m")).await.is_err());
    assert_eq!(bench.living_machines().await.len(), 1, "the second took effect");
    assert!(provider.find(&token).await.unwrap().is_some());

    let lost = Some(ErrorKind::Transient);
    assert_eq!(tally.told(), [("create_machine", lost), ("create_machine", lost), ("find_machine", None)]);
}

/// A stack whose time is set by hand: one create at once, and one a second.
async fn stack(bench: &World) -> (Arc<dyn Machines>, Arc<AtomicI64>, Arc<Tally>) {
    let (seconds, tally) = (Arc::new(AtomicI64::new(100)), Arc::new(Tally::default()));
    let clock = seconds.clone();
    let slow = Rate { per_second: 1, burst: 1 };
    let limits = Limits { creates: slow, ..Limits::default() };
    let now = Arc::new(move || Time::from_secs(clock.load(Ordering::Relaxed)));
    let layers = Layers::new("test").metered(tally.clone()).throttled(limits, now);
    (layers.machines(bench.machines().await), seconds, tally)
}

fn throttled(error: &Error) -> Option<u64> {
    match error.kind {
        ErrorKind::Throttled { retry_after } => Some(retry_after.as_secs()),
        _ => None,
    }
}

#[tokio::test]
async fn a_throttled_call_does_not_reach_the_backend_and_keeps_its_place() {
    let bench = World::new(Flaw::None);
    let (provider, seconds, tally) = stack(&bench).await;
    provider.create(&token("a"), &bench.machine("a")).await.unwrap();
    let b = provider.create(&token("b"), &bench.machine("b")).await.unwrap_err();
    let c = provider.create(&token("c"), &bench.machine("c")).await.unwrap_err();
    assert_eq!((throttled(&b), throttled(&c)), (Some(1), Some(2)));
    assert!(provider.find(&token("a")).await.unwrap().is_some(), "reads have a bucket of their own");
    seconds.fetch_add(1, Ordering::Relaxed);
    assert_eq!(throttled(&provider.create(&token("c"), &bench.machine("c")).await.unwrap_err()), Some(1));
    provider.create(&token("b"), &bench.machine("b")).await.unwrap();
    let made = [("create_machine", None), ("find_machine", None), ("create_machine", None)];
    assert_eq!(tally.told(), made, "what was held back is not measured");
}

#[tokio::test]
async fn a_backend_that_says_slow_down_is_left_alone() {
    let bench = World::new(Flaw::None);
    let (provider, seconds, tally) = stack(&bench).await;
    bench.afflict(Trouble::Throttling).await.unwrap();
    assert!(provider.find(&token("a")).await.is_err());
    bench.relieve().await;
    for name in ["b", "c"] {
        let held = provider.find(&token(name)).await.unwrap_err();
        assert!(throttled(&held).is_some(), "{name} is held back though the backend would answer");
    }
    assert_eq!(tally.told().len(), 1);
    seconds.fetch_add(2, Ordering::Relaxed);
    assert!(provider.find(&token("b")).await.is_ok());
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_what_was_asked_for_whom_and_how_it_ended_but_no_bootstrap_data() {
    let (bench, sink) = (World::new(Flaw::None), Sink::default());
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let (provider, _, _) = stack(&bench).await;
    provider.create(&token("m"), &bench.machine("m")).await.unwrap();
    bench.afflict(Trouble::Denied).await.unwrap();
    assert!(provider.delete(&token("m")).await.is_err());
    drop(guard);

    let log = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("close")).collect();
    for (line, words) in lines.iter().zip([
        ["operation=\"create_machine\"", "cluster=default/c", "object=default/m", "outcome=\"Ok\""],
        ["operation=\"delete_machine\"", "cluster=default/c", "object=default/m", "outcome=\"Rejected\""],
    ]) {
        assert!(line.contains("backend=\"test\"") && words.iter().all(|word| line.contains(word)), "{line}");
    }
    assert_eq!(lines.len(), 2, "{log}");
    assert!(log.contains("error=these credentials are not valid"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}
