//! Images: had already, or pulled in the background.

use std::collections::BTreeMap;

/// The image of a node, where none is named.
const NODE: &str = "kindest/node";
/// Where the load balancer's image comes from, where nothing is said.
const REPOSITORY: &str = "kindest";
/// The version of the load balancer's image, where nothing is said.
const TAG: &str = "v20230606-42a2262b";

/// The image of a node of this version.
pub(crate) fn node(custom: Option<&str>, version: &str) -> Option<String> {
    match custom.filter(|image| !image.is_empty()) {
        Some(custom) => Some(custom.to_owned()),
        // A `+` of build metadata is no legal tag; kind writes `_` as everybody does.
        None if version.is_empty() => None,
        None => Some(format!("{NODE}:{}", version.replace('+', "_"))),
    }
}

/// The image of a load balancer.
pub(crate) fn load_balancer(repository: Option<&str>, tag: Option<&str>) -> String {
    let filled = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let repository = filled(repository).unwrap_or_else(|| REPOSITORY.to_owned());
    format!("{}/haproxy:{}", repository.trim_end_matches('/'), filled(tag).unwrap_or_else(|| TAG.to_owned()))
}

/// The image's name with a tag: without one, an engine would pull all of them.
pub(crate) fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}

/// Where a pull is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    /// Under way.
    Running,
    /// It failed, for this reason.
    Failed(String),
}

/// The pulls that are under way or have failed, by image.
pub(crate) type Pulls = BTreeMap<String, Pull>;

/// What to say about an image that cannot be had.
pub(crate) fn missing(image: &str, field: &str, why: &str) -> String {
    format!(
        "the engine does not have the image {image} and cannot pull it: {why}; pull it with `docker pull {image}`, \
         load it with `docker load`, or name another one in {field}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_as_upstream_names_them() {
        assert_eq!(node(None, "v1.35.0").as_deref(), Some("kindest/node:v1.35.0"));
        assert_eq!(node(None, "v1.35.0+k3s1").as_deref(), Some("kindest/node:v1.35.0_k3s1"));
        assert_eq!(node(Some("windlass/node:x"), "v1.35.0").as_deref(), Some("windlass/node:x"));
        assert_eq!(node(Some(""), ""), None);
        assert_eq!(load_balancer(None, None), "kindest/haproxy:v20230606-42a2262b");
        assert_eq!(load_balancer(Some("windlass"), Some("2.6")), "windlass/haproxy:2.6");
        for (image, full) in [
            ("busybox", "busybox:latest"),
            ("localhost:5000/busybox", "localhost:5000/busybox:latest"),
            ("a/b:c", "a/b:c"),
            ("a/b@sha256:00", "a/b@sha256:00"),
        ] {
            assert_eq!(tagged(image), full);
        }
    }
}
