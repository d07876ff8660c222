//! The suite itself: it passes an honest provider, and catches each kind of dishonest one.

#![expect(clippy::unwrap_used, reason = "the fakes stand outside of test functions")]

mod cloud;
mod sites;

use cloud::{Flaw, World};
use sites::Sites;
use windlass_provider::conformance::{self, Case, Outcome};

#[tokio::test]
async fn an_honest_provider_keeps_every_rule() {
    let report = conformance::machines(&World::new(Flaw::None)).await;
    assert_eq!(report.clone().verdict(), Ok(vec![]), "\n{report}");
    assert_eq!(report.0.len(), 22, "every case for machines was tried");
}

#[tokio::test]
async fn each_flaw_is_caught_by_its_case() {
    for (flaw, case) in [
        (Flaw::IgnoresToken, Case::CreateTwice),
        (Flaw::IgnoresToken, Case::CreateTwiceAtOnce),
        (Flaw::IgnoresToken, Case::LostAnswer),
        (Flaw::ForgetsOnRestart, Case::CrashAfterCreate),
        (Flaw::SharesMachines, Case::TwoTokens),
        (Flaw::FailsOnSecondDelete, Case::DeleteTwice),
        (Flaw::FailsOnUnknownDelete, Case::Unknown),
        (Flaw::NeverDeletes, Case::DeleteTwice),
        (Flaw::DeletesEverything, Case::DeleteOneOfTwo),
        (Flaw::SecondLife, Case::SecondLife),
        (Flaw::NeverRuns, Case::ComesToRun),
        (Flaw::EverythingIsTransient, Case::ErrorKinds),
        (Flaw::EverythingIsTransient, Case::Throttled),
        (Flaw::EverythingIsTransient, Case::Denied),
        (Flaw::WrongProphecy, Case::Foretold),
        (Flaw::AdoptsByName, Case::NameTaken),
        (Flaw::IgnoresNamespace, Case::SameNameElsewhere),
        (Flaw::DiskAfterDisk, Case::CutCreate),
        (Flaw::DeletesOnlyWhatItFinds, Case::HalfMade),
        (Flaw::DeletesMachineFirst, Case::CutDelete),
        (Flaw::SeesNothingInTrouble, Case::CutFind),
        (Flaw::SeesNothingInTrouble, Case::Unreachable),
        (Flaw::SeesNothingInTrouble, Case::Denied),
    ] {
        let line = conformance::machine(&World::new(flaw), case).await;
        assert!(
            matches!(line.outcome, Outcome::Broken(_)),
            "{flaw:?} gets through {}: {line:?}",
            case.name()
        );
    }
}

/// What a world without troubles, names and namespaces cannot try.
const NOT_TRIED: [&str; 9] = [
    "name-taken",
    "same-name-elsewhere",
    "cut-create",
    "half-made",
    "cut-delete",
    "cut-find",
    "unreachable",
    "throttled",
    "denied",
];

#[tokio::test]
async fn clusters_are_held_to_the_same_rules_and_what_is_not_tried_is_listed() {
    let report = conformance::clusters(&Sites::default()).await;
    assert_eq!(report.clone().verdict().unwrap(), NOT_TRIED);
    let told = report.to_string();
    assert!(told.contains("not tried  denied: nobody asks for credentials here\n"), "{told}");
    assert!(told.contains("kept       proposal\n"), "{told}");

    let careless = Sites { ignores_token: true, ..Sites::default() };
    assert!(conformance::clusters(&careless).await.broken().contains(&"create-twice"));
    let boaster = Sites { proposes_wrongly: true, ..Sites::default() };
    let report = conformance::clusters(&boaster).await;
    assert_eq!(report.broken(), ["proposal"]);
    assert!(report.to_string().contains("BROKEN     proposal: 127.0.0.1:9 was proposed"), "{report}");
    assert!(report.verdict().is_err());
}
