//! What a person sees when a command fails: the chain of causes, then what to do next.

use std::error::Error as StdError;
use std::fmt;

/// Exit codes, documented in `windlass --help`. A wrong command line ends with clap's own code, 2.
pub mod exit {
    /// The command did what it says.
    pub const DONE: u8 = 0;
    /// It could not; standard error says why.
    pub const FAILED: u8 = 1;
}

/// An error with an optional next step, printed as `hint:` under the causes.
#[derive(Debug)]
pub struct Failure {
    what: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    hint: Option<String>,
}

impl Failure {
    /// A failure without a deeper cause.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None, hint: None }
    }

    /// A failure that something else caused.
    pub fn caused(what: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { what: what.into(), source: Some(source.into()), hint: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What it was caused by, on one line.
    pub fn causes(&self) -> String {
        self.chain().join(": ")
    }

    /// The texts of the causes, outermost first.
    fn chain(&self) -> Vec<String> {
        let mut chain = Vec::new();
        let mut source: Option<&dyn StdError> = self.source.as_deref().map(|source| source as &dyn StdError);
        let mut last = self.what.clone();
        while let Some(error) = source {
            let line = error.to_string();
            // Some libraries repeat their source in their own text.
            if !last.contains(&line) {
                chain.push(line.clone());
            }
            last = line;
            source = error.source();
        }
        chain
    }

    /// The text for standard error: `error:`, the causes, `hint:`.
    pub fn render(&self) -> String {
        let mut text = format!("error: {}", self.what);
        for cause in self.chain() {
            text.extend(["\n  because: ", &cause]);
        }
        if let Some(hint) = &self.hint {
            text.extend(["\nhint: ", hint]);
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// What the API server answered, as a person should read it.
pub fn api(doing: impl Into<String>, error: kube::Error) -> Failure {
    let doing = doing.into();
    match &error {
        kube::Error::Api(status)
            if status.is_not_found() && status.message.contains("could not find the requested resource") =>
        {
            Failure::caused(doing, error)
                .hint("this API server does not know Cluster API; is it the management cluster?")
        }
        kube::Error::HyperError(_) | kube::Error::Service(_) => Failure::caused(doing, error).hint(
            "is the plane running? `windlass up` starts it; --kubeconfig names another management cluster",
        ),
        _ => Failure::caused(doing, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_and_hint_are_shown_once_each() {
        let io = std::io::Error::other("permission denied");
        let failure =
            Failure::caused("cannot write out.yaml", io).hint("choose another file with --write-to");
        assert_eq!(
            failure.render(),
            "error: cannot write out.yaml\n  because: permission denied\nhint: choose another file with --write-to"
        );
    }
}
