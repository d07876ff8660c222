//! Subresources of compiled-in kinds besides `status` and `scale`.

use crate::call::Part;

/// What a subresource is called, what it speaks and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Last segment of the path.
    pub name: &'static str,
    /// Kind of its bodies; empty for the kind of the object itself.
    pub kind: &'static str,
    /// Group and version of that kind.
    pub group_version: (&'static str, &'static str),
    /// Verbs, as discovery lists them.
    pub verbs: &'static [&'static str],
    /// What a request on it does.
    pub part: Part,
}

const VIEW: &[&str] = &["get", "patch", "update"];
const POST: &[&str] = &["create"];
const STREAM: &[&str] = &["create", "get"];
const FORWARD: &[&str] = &["create", "delete", "get", "patch", "update"];

const fn view(name: &'static str, verbs: &'static [&'static str], part: Part) -> Subresource {
    Subresource { name, kind: "", group_version: ("", ""), verbs, part }
}

const fn action(
    name: &'static str,
    kind: &'static str,
    group_version: (&'static str, &'static str),
    verbs: &'static [&'static str],
    part: Part,
) -> Subresource {
    Subresource { name, kind, group_version, verbs, part }
}

/// Taking the last finalizer of a namespace.
pub const FINALIZE: Subresource = view("finalize", &["update"], Part::Finalize);
/// Approving and denying certificate signing requests.
pub const APPROVAL: Subresource = view("approval", VIEW, Part::Approval);
/// Debug containers of a running pod.
pub const EPHEMERAL_CONTAINERS: Subresource = view("ephemeralcontainers", VIEW, Part::EphemeralContainers);
/// Resources of the containers of a running pod.
pub const RESIZE: Subresource = view("resize", VIEW, Part::Resize);
/// Deleting a pod if its disruption budgets allow it.
pub const EVICTION: Subresource = action("eviction", "Eviction", ("policy", "v1"), POST, Part::Eviction);
/// Putting a pod on a node.
pub const BINDING: Subresource = action("binding", "Binding", ("", "v1"), POST, Part::Binding);
/// Tokens of a service account.
pub const TOKEN: Subresource =
    action("token", "TokenRequest", ("authentication.k8s.io", "v1"), POST, Part::Token);
/// Output of a container.
pub const LOG: Subresource = view("log", &["get"], Part::Log);
/// Streams of a container.
pub const ATTACH: Subresource = action("attach", "PodAttachOptions", ("", "v1"), STREAM, Part::Connect);
/// A program in a container.
pub const EXEC: Subresource = action("exec", "PodExecOptions", ("", "v1"), STREAM, Part::Connect);
/// Ports of a pod.
pub const PORT_FORWARD: Subresource =
    action("portforward", "PodPortForwardOptions", ("", "v1"), STREAM, Part::Connect);
/// HTTP of a pod.
pub const POD_PROXY: Subresource = action("proxy", "PodProxyOptions", ("", "v1"), FORWARD, Part::Connect);
/// HTTP of a node.
pub const NODE_PROXY: Subresource = action("proxy", "NodeProxyOptions", ("", "v1"), FORWARD, Part::Connect);
/// HTTP of a service.
pub const SERVICE_PROXY: Subresource =
    action("proxy", "ServiceProxyOptions", ("", "v1"), FORWARD, Part::Connect);
