//! kubeadm in the steps of a boot: which configuration it is called with, and edits of that.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Boot, BootstrapDataError, Command, Result, Step};

/// Where Cluster API's bootstrap provider puts kubeadm's configuration.
const USUAL: [&str; 3] =
    ["/run/kubeadm/kubeadm.yaml", "/run/kubeadm/kubeadm-join-config.yaml", "/etc/kubeadm.yml"];
/// The flag that makes failed checks into warnings.
const FLAG: &str = "--ignore-preflight-errors";
/// Deepest nesting of a configuration that is read.
const DEEPEST: usize = 64;

/// What kubeadm is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubeadmVerb {
    /// `kubeadm init`.
    Init,
    /// `kubeadm join`.
    Join,
}

/// A call of kubeadm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeadmCall {
    /// What for.
    pub verb: KubeadmVerb,
    /// The path after `--config`.
    pub config: Option<String>,
    /// The checks after `--ignore-preflight-errors`.
    pub ignored_checks: Vec<String>,
}

/// What a provider changes about kubeadm on its machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KubeadmTweaks {
    /// Preflight checks that may fail, such as `Swap`; in addition to the user's.
    pub ignore_preflight_errors: Vec<String>,
    /// The container runtime's socket; replaces the user's.
    pub cri_socket: Option<String>,
    /// Arguments of the kubelet, without dashes, by name; those of the user win.
    pub kubelet_args: BTreeMap<String, String>,
    /// Configurations of components that `kubeadm init` gives to the whole cluster, such as a
    /// `KubeProxyConfiguration`, with `apiVersion` and `kind`. Fields of the user's win.
    pub components: Vec<Value>,
}

impl KubeadmCall {
    /// The call in a text of lines for a shell.
    fn find(text: &str) -> Option<Self> {
        text.lines().filter(|line| !line.trim_start().starts_with('#')).find_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            Self::of(&words)
        })
    }

    fn of(words: &[&str]) -> Option<Self> {
        let (at, verb) = words.windows(2).enumerate().find_map(|(at, pair)| {
            let program = pair[0].trim_start_matches(['(', '"', '\'']);
            let kubeadm = program == "kubeadm" || program.ends_with("/kubeadm");
            let verb = match pair[1] {
                "init" => KubeadmVerb::Init,
                "join" => KubeadmVerb::Join,
                _ => return None,
            };
            kubeadm.then_some((at + 2, verb))
        })?;
        let arguments = &words[at..];
        // `kubeadm init phase …` does a part of it.
        if arguments.first() == Some(&"phase") {
            return None;
        }
        let option = |name: &str| {
            arguments.iter().enumerate().find_map(|(at, word)| match word.strip_prefix(name)? {
                "" => arguments.get(at + 1).copied(),
                rest => rest.strip_prefix('='),
            })
        };
        let ignored = option(FLAG).unwrap_or_default();
        Some(Self {
            verb,
            config: option("--config").map(|path| path.trim_matches(['"', '\'']).to_owned()),
            ignored_checks: ignored.split(',').filter(|check| !check.is_empty()).map(str::to_owned).collect(),
        })
    }
}

impl Command {
    fn kubeadm(&self) -> Option<KubeadmCall> {
        match self {
            Self::Shell(text) => KubeadmCall::find(text),
            Self::Argv(words) => {
                let direct: Vec<&str> = words.iter().map(String::as_str).collect();
                KubeadmCall::of(&direct).or_else(|| words.iter().find_map(|word| KubeadmCall::find(word)))
            }
        }
    }
}

impl Boot {
    /// How kubeadm is called: by a command, or by a script among the files, as with Ignition.
    pub fn kubeadm(&self) -> Option<KubeadmCall> {
        let commands = self.steps.iter().filter_map(|step| match step {
            Step::Run(command) => command.kubeadm(),
            Step::Write(_) | Step::User(_) => None,
        });
        let scripts = self.steps.iter().filter_map(|step| match step {
            Step::Write(file) if file.mode.is_some_and(|mode| mode & 0o111 != 0) => {
                KubeadmCall::find(std::str::from_utf8(&file.content).ok()?)
            }
            Step::Write(_) | Step::Run(_) | Step::User(_) => None,
        });
        commands.chain(scripts).next()
    }
}

/// Edits kubeadm's configuration among the files before they are written.
///
/// Where kubeadm is called without one, its command line is told which checks may fail, and the rest is
/// left as it is. Both shapes of the configuration are known, that of v1beta3 and that of v1beta4.
/// Documents that need no change stay as they are, to the byte.
///
/// # Errors
/// [`BootstrapDataError::Kubeadm`] where a configuration cannot be read.
pub fn edit_kubeadm(boot: &mut Boot, tweaks: &KubeadmTweaks) -> Result<()> {
    let call = boot.kubeadm();
    let named = call.as_ref().and_then(|call| call.config.clone());
    let paths = USUAL.into_iter().map(str::to_owned).filter(|path| Some(path) != named.as_ref());
    let paths: Vec<_> = named.iter().cloned().chain(paths).collect();
    let mut edited = false;
    let everything = call.as_ref().is_some_and(|call| call.ignored_checks.iter().any(|check| check == "all"));
    for path in paths {
        let Some(content) = boot.file(&path) else { continue };
        let invalid = |document| BootstrapDataError::Kubeadm { path: path.clone(), document };
        let text = String::from_utf8(content).map_err(|_| invalid(1))?;
        let text = edit(&text, tweaks, everything).map_err(invalid)?;
        replace(boot, &path, text.into_bytes());
        edited |= named.is_none() || named.as_ref() == Some(&path);
    }
    if call.is_some() && !edited && !everything && !tweaks.ignore_preflight_errors.is_empty() {
        let flag = format!("{FLAG}={}", tweaks.ignore_preflight_errors.join(","));
        for step in &mut boot.steps {
            if let Step::Run(command) = step {
                add_flag(command, &flag);
            }
        }
    }
    Ok(())
}

/// Gives a file a new content: in the place of the last step that replaced it, instead of all later ones.
fn replace(boot: &mut Boot, path: &str, content: Vec<u8>) {
    let writes = |step: &Step| matches!(step, Step::Write(file) if file.path == path);
    let whole = |step: &Step| matches!(step, Step::Write(file) if file.path == path && !file.append);
    let Some(at) = boot.steps.iter().rposition(whole).or_else(|| boot.steps.iter().position(writes)) else {
        return;
    };
    let mut behind = boot.steps.split_off(at + 1);
    behind.retain(|step| !writes(step));
    if let Some(Step::Write(file)) = boot.steps.last_mut() {
        file.content = content;
        file.append = false;
    }
    boot.steps.append(&mut behind);
}

/// Puts a flag behind `kubeadm init` or `kubeadm join`.
fn add_flag(command: &mut Command, flag: &str) {
    if command.kubeadm().is_none() {
        return;
    }
    match command {
        Command::Argv(words) => {
            let program = |word: &String| word == "kubeadm" || word.ends_with("/kubeadm");
            match words.iter().position(program) {
                Some(at) => words.insert((at + 2).min(words.len()), flag.to_owned()),
                // A shell with the text as an argument.
                None => words.iter_mut().for_each(|word| *word = flagged(word, flag)),
            }
        }
        Command::Shell(text) => *text = flagged(text, flag),
    }
}

fn flagged(text: &str, flag: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let calls = KubeadmCall::find(line).is_some();
        let verb = ["kubeadm init", "kubeadm join"].into_iter().find(|verb| calls && line.contains(verb));
        match verb {
            Some(verb) => line.replacen(verb, &format!("{verb} {flag}"), 1),
            None => line.to_owned(),
        }
    });
    lines.collect()
}

/// The documents of a configuration with the tweaks in them; or the number of the one that is not YAML.
fn edit(text: &str, tweaks: &KubeadmTweaks, everything: bool) -> std::result::Result<String, usize> {
    let texts = documents(text);
    let mut parsed = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        parsed.push(parse(text).ok_or(at + 1)?);
    }
    let original = parsed.clone();
    let kind = |document: &Value, kind: &str| document["kind"] == kind;
    let cluster = parsed.iter().find(|document| kind(document, "ClusterConfiguration"));
    let inits = cluster.is_some() || parsed.iter().any(|document| kind(document, "InitConfiguration"));
    if let Some(version) = cluster.map(|cluster| cluster["apiVersion"].clone())
        && !parsed.iter().any(|document| kind(document, "InitConfiguration"))
    {
        parsed.push(json!({"apiVersion": version, "kind": "InitConfiguration"}));
    }
    for document in &mut parsed {
        if kind(document, "InitConfiguration") || kind(document, "JoinConfiguration") {
            let listed = !document["apiVersion"].as_str().unwrap_or_default().ends_with("/v1beta3");
            register(member(document, "nodeRegistration"), tweaks, listed, everything);
        }
    }
    for component in tweaks.components.iter().filter(|_| inits) {
        match parsed.iter_mut().find(|document| document["kind"] == component["kind"]) {
            Some(document) => beneath(document, component),
            None => parsed.push(component.clone()),
        }
    }
    let mut out = String::with_capacity(text.len());
    for (at, document) in parsed.iter().enumerate() {
        let unchanged = original.get(at).is_some_and(|original| original == document);
        match texts.get(at).filter(|_| unchanged) {
            Some(text) => append(&mut out, text),
            None => append(&mut out, &serde_saphyr::to_string(document).map_err(|_| at + 1)?),
        }
    }
    Ok(out)
}

fn append(out: &mut String, document: &str) {
    if !out.is_empty() {
        if !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str("---\n");
    }
    out.push_str(document);
}

/// The documents of a YAML text. A line of three dashes divides them wherever it is, as it does for kubeadm.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        {
            Some(rest) => documents.push(rest.trim_start().to_owned()),
            None => documents.last_mut().map_or((), |last| last.push_str(line)),
        }
    }
    let told = |document: &String| {
        document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    };
    documents.into_iter().filter(told).collect()
}

fn parse(text: &str) -> Option<Value> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEEPEST, flow_nesting_limit: DEEPEST },
        leading_zero_numbers_as_strings: true,
    };
    serde_saphyr::from_str_with_options(text, options).ok()
}

/// A member that is an object, made so if it is not.
fn member<'a>(document: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    object(object(document).entry(name).or_insert(Value::Null))
}

/// The value as an object, made one if it is none.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made an object above")
}

/// How the node registers. `listed`: arguments are a list of name and value, since v1beta4.
fn register(node: &mut Map<String, Value>, tweaks: &KubeadmTweaks, listed: bool, everything: bool) {
    if let Some(socket) = &tweaks.cri_socket {
        node.insert("criSocket".to_owned(), json!(socket));
    }
    let mut checks: Vec<String> = node
        .get("ignorePreflightErrors")
        .and_then(Value::as_array)
        .map(|checks| checks.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    // Beside `all` kubeadm takes no other.
    if !everything && !checks.iter().any(|check| check == "all") && !tweaks.ignore_preflight_errors.is_empty()
    {
        let more = tweaks.ignore_preflight_errors.iter().filter(|check| !checks.contains(check));
        let more: Vec<_> = more.cloned().collect();
        checks.extend(more);
        node.insert("ignorePreflightErrors".to_owned(), json!(checks));
    }
    if tweaks.kubelet_args.is_empty() {
        return;
    }
    let arguments = node.entry("kubeletExtraArgs").or_insert(Value::Null);
    let listed = match arguments {
        Value::Array(_) => true,
        Value::Object(_) => false,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => listed,
    };
    for (name, value) in &tweaks.kubelet_args {
        if !listed {
            object(arguments).entry(name.clone()).or_insert_with(|| json!(value));
            continue;
        }
        if !arguments.is_array() {
            *arguments = json!([]);
        }
        if let Some(list) = arguments.as_array_mut()
            && !list.iter().any(|argument| argument["name"] == *name)
        {
            list.push(json!({"name": name, "value": value}));
        }
    }
}

/// Adds what `document` does not say.
fn beneath(document: &mut Value, defaults: &Value) {
    let Value::Object(defaults) = defaults else { return };
    let members = object(document);
    for (name, value) in defaults {
        match members.get_mut(name) {
            Some(present @ Value::Object(_)) => beneath(present, value),
            Some(Value::Null) | None => {
                members.insert(name.clone(), value.clone());
            }
            Some(_) => {}
        }
    }
}
