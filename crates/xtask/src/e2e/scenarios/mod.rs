//! One file per scenario.

mod adoption;
mod broken;
mod crash;
mod delete;
mod external_etcd;
mod files;
mod foreign;
mod ignition;
mod own_ca;
mod parts;
mod quickstart;
mod scale;
mod survive;
mod versions;

use anyhow::Result;

use super::stage::Stage;

/// Something that must be seen working.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// On the command line: the number in the plan, then the part.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// Part of what decides whether a change lands.
    pub ci: bool,
    /// Whether it makes clusters.
    pub clusters: bool,
    /// Plays it; clusters that it leaves are deleted afterwards.
    pub play: fn(&Stage) -> Result<()>,
}

/// In the order in which they are played.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "parts",
        title: "single parts beside real programs",
        ci: true,
        clusters: false,
        play: parts::play,
    },
    Scenario {
        name: "1",
        title: "quickstart 1+1: pods, Service, DNS",
        ci: true,
        clusters: true,
        play: quickstart::play,
    },
    Scenario {
        name: "2",
        title: "3+2: one control plane machine killed",
        ci: false,
        clusters: true,
        play: survive::play,
    },
    Scenario {
        name: "3-control-plane",
        title: "control plane 1 → 3 → 1",
        ci: true,
        clusters: true,
        play: scale::control_plane,
    },
    Scenario {
        name: "3-workers",
        title: "workers 1 → 4 → 1",
        ci: false,
        clusters: true,
        play: scale::workers,
    },
    Scenario {
        name: "4",
        title: "kill -9 of Windlass during creation",
        ci: false,
        clusters: true,
        play: crash::play,
    },
    Scenario {
        name: "5",
        title: "delete, also in the middle of creation",
        ci: true,
        clusters: true,
        play: delete::play,
    },
    Scenario {
        name: "6-ignition",
        title: "Ignition machines",
        ci: false,
        clusters: true,
        play: ignition::play,
    },
    Scenario {
        name: "6-versions",
        title: "two minor versions",
        ci: false,
        clusters: true,
        play: versions::play,
    },
    Scenario { name: "6-ca", title: "a CA of one's own", ci: false, clusters: true, play: own_ca::play },
    Scenario { name: "6-etcd", title: "external etcd", ci: false, clusters: true, play: external_etcd::play },
    Scenario {
        name: "6-adoption",
        title: "adoption of control plane machines",
        ci: false,
        clusters: true,
        play: adoption::play,
    },
    Scenario {
        name: "6-files",
        title: "extra mounts, files from Secrets",
        ci: false,
        clusters: true,
        play: files::play,
    },
    Scenario {
        name: "7",
        title: "three defects explained and corrected",
        ci: true,
        clusters: true,
        play: broken::play,
    },
    Scenario {
        name: "8",
        title: "1 and 5 on a real kube-apiserver",
        ci: false,
        clusters: true,
        play: foreign::play,
    },
];

impl Scenario {
    /// Whether a word of the command line means it: its name, or its number.
    pub fn is_meant_by(&self, word: &str) -> bool {
        self.name == word || self.name.split('-').next() == Some(word)
    }
}
