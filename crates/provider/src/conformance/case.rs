//! The rules, by name.

use super::Sort;

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// What is asked for comes to run, and is the same thing all the while, for every process that asks.
    ComesToRun,
    /// Two creates with one token make one.
    CreateTwice,
    /// A second create with a changed request still answers the first machine.
    CreateTwiceDifferently,
    /// Two creates with one token at the same time, by two processes, make one.
    CreateTwiceAtOnce,
    /// After a crash right behind the create, a new process finds what was made by its token.
    CrashAfterCreate,
    /// A create whose answer is lost is repeated and makes no second one.
    LostAnswer,
    /// Two tokens make two.
    TwoTokens,
    /// What was deleted is gone, and a second delete is no error.
    DeleteTwice,
    /// Deleting and finding what was never made is no error.
    Unknown,
    /// Deleting one leaves the others alone.
    DeleteOneOfTwo,
    /// A token whose resource was deleted makes no second one, or, where the world forgets tokens, one that
    /// obeys the same rules.
    SecondLife,
    /// Under a name that somebody else has taken nothing is made, and what is there is not touched. When the
    /// name is free, the next try succeeds.
    NameTaken,
    /// Clusters of one name in two namespaces do not share anything: each has its own, or the second is
    /// refused.
    SameNameElsewhere,
    /// Refusals come as the kind that says what can be done about them, and leave nothing behind.
    ErrorKinds,
    /// What is known of a machine beforehand holds afterwards.
    Foretold,
    /// A proposal makes nothing, and where it names an endpoint that is still free, that is what comes.
    Proposal,
    /// A create that is cut at any of its exchanges is repeated by a new process and makes one.
    CutCreate,
    /// What a create left half-made goes by a delete, though nobody ever got an answer.
    HalfMade,
    /// A delete that is cut at any of its exchanges is repeated and leaves nothing.
    CutDelete,
    /// A find that is cut says so; it never says that nothing is there.
    CutFind,
    /// While the backend cannot be reached every call fails as transient, and afterwards all is as before.
    Unreachable,
    /// Too many requests come as throttled, and make nothing.
    Throttled,
    /// Wrong credentials come as rejected, never as "nothing there", and make nothing.
    Denied,
}

impl Case {
    /// All cases, the simple ones first.
    pub const ALL: [Self; 23] = [
        Self::ComesToRun,
        Self::CreateTwice,
        Self::CreateTwiceDifferently,
        Self::CreateTwiceAtOnce,
        Self::CrashAfterCreate,
        Self::LostAnswer,
        Self::TwoTokens,
        Self::DeleteTwice,
        Self::Unknown,
        Self::DeleteOneOfTwo,
        Self::SecondLife,
        Self::NameTaken,
        Self::SameNameElsewhere,
        Self::ErrorKinds,
        Self::Foretold,
        Self::Proposal,
        Self::CutCreate,
        Self::HalfMade,
        Self::CutDelete,
        Self::CutFind,
        Self::Unreachable,
        Self::Throttled,
        Self::Denied,
    ];

    /// The case's name; also the stem of the names of what it makes.
    pub fn name(self) -> &'static str {
        match self {
            Self::ComesToRun => "comes-to-run",
            Self::CreateTwice => "create-twice",
            Self::CreateTwiceDifferently => "create-twice-differently",
            Self::CreateTwiceAtOnce => "create-twice-at-once",
            Self::CrashAfterCreate => "crash-after-create",
            Self::LostAnswer => "lost-answer",
            Self::TwoTokens => "two-tokens",
            Self::DeleteTwice => "delete-twice",
            Self::Unknown => "unknown",
            Self::DeleteOneOfTwo => "delete-one-of-two",
            Self::SecondLife => "second-life",
            Self::NameTaken => "name-taken",
            Self::SameNameElsewhere => "same-name-elsewhere",
            Self::ErrorKinds => "error-kinds",
            Self::Foretold => "foretold",
            Self::Proposal => "proposal",
            Self::CutCreate => "cut-create",
            Self::HalfMade => "half-made",
            Self::CutDelete => "cut-delete",
            Self::CutFind => "cut-find",
            Self::Unreachable => "unreachable",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
        }
    }

    /// Whether this is a rule for resources of this sort.
    pub fn concerns(self, sort: Sort) -> bool {
        match self {
            Self::CreateTwiceDifferently | Self::ErrorKinds | Self::Foretold => sort == Sort::Machine,
            Self::Proposal => sort == Sort::Cluster,
            Self::ComesToRun
            | Self::CreateTwice
            | Self::CreateTwiceAtOnce
            | Self::CrashAfterCreate
            | Self::LostAnswer
            | Self::TwoTokens
            | Self::DeleteTwice
            | Self::Unknown
            | Self::DeleteOneOfTwo
            | Self::SecondLife
            | Self::NameTaken
            | Self::SameNameElsewhere
            | Self::CutCreate
            | Self::HalfMade
            | Self::CutDelete
            | Self::CutFind
            | Self::Unreachable
            | Self::Throttled
            | Self::Denied => true,
        }
    }
}
