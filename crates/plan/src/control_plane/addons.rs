//! The images of what kubeadm installs beside the control plane: kube-proxy and CoreDNS.

use windlass_model::Version;

/// An image reference without a digest, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Everything before the last slash; empty if there is none.
    pub repository: String,
    /// The last part of the path.
    pub name: String,
    /// After the colon; empty if there is none.
    pub tag: String,
}

impl Image {
    /// Takes a reference apart. A digest pins what it names: such an image is nobody's to change, so there is
    /// none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.contains('@') {
            return None;
        }
        let (repository, last) = text.rsplit_once('/').unwrap_or(("", text));
        let (name, tag) = last.split_once(':').unwrap_or((last, ""));
        Some(Self { repository: repository.to_owned(), name: name.to_owned(), tag: tag.to_owned() })
    }

    fn text(&self) -> String {
        let Self { repository, name, tag } = self;
        let path = if repository.is_empty() { name.clone() } else { format!("{repository}/{name}") };
        if tag.is_empty() { path } else { format!("{path}:{tag}") }
    }
}

/// The image that kube-proxy shall run, if it is another than `current`: the tag of the cluster's version, and
/// the cluster's registry where it has one of its own.
pub fn proxy(current: &str, version: &Version, registry: Option<&str>) -> Option<String> {
    let image = Image::parse(current)?;
    let repository = registry.map_or(image.repository, |registry| registry.trim_end_matches('/').to_owned());
    // Tags know no plus sign.
    let tag = version.to_string().replace('+', "_");
    let wanted = Image { repository, tag, ..image }.text();
    (wanted != current).then_some(wanted)
}

/// What the control plane says about CoreDNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dns<'a> {
    /// `clusterConfiguration.imageRepository`.
    pub cluster_registry: Option<&'a str>,
    /// `clusterConfiguration.dns.imageRepository`.
    pub registry: Option<&'a str>,
    /// `clusterConfiguration.dns.imageTag`.
    pub tag: Option<&'a str>,
}

/// What becomes of CoreDNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsChange {
    /// Nothing.
    None,
    /// Another image of the same version: another registry, or another build.
    Image(String),
    /// Another version. Its configuration stays as it is: which of its plugins the new version still knows is
    /// in the release notes of CoreDNS.
    Upgrade {
        /// The image.
        image: String,
        /// The version there is.
        from: String,
        /// The version there shall be.
        to: String,
    },
    /// An older version is asked for. CoreDNS knows no way back.
    Refused {
        /// The version there is.
        from: String,
        /// The version that is asked for.
        to: String,
    },
}

/// Registries where CoreDNS has a folder of its own since 1.8.0.
const DEFAULT_REGISTRIES: [&str; 2] = ["registry.k8s.io", "k8s.gcr.io"];

/// What becomes of CoreDNS, which runs `current`.
pub fn dns(current: &str, wanted: &Dns<'_>) -> DnsChange {
    let Some(image) = Image::parse(current) else { return DnsChange::None };
    let registry = wanted.registry.or(wanted.cluster_registry).map(|registry| registry.trim_end_matches('/'));
    let tag = wanted.tag.unwrap_or(&image.tag);
    let (from, to) = (core(&image.tag), core(tag));
    let name = match (registry, to) {
        (Some(registry), Some(to)) if DEFAULT_REGISTRIES.contains(&registry) && to >= (1, 8, 0) => {
            "coredns/coredns".to_owned()
        }
        // In the folder already, where the folder is kept.
        (Some(_) | None, _) => image.name.clone(),
    };
    let repository = registry.unwrap_or(&image.repository).to_owned();
    let target = Image { repository, name, tag: tag.to_owned() }.text();
    if target == current {
        return DnsChange::None;
    }
    let (was, is) = (image.tag.clone(), tag.to_owned());
    match (from, to) {
        (Some(from), Some(to)) if to < from => DnsChange::Refused { from: was, to: is },
        (Some(from), Some(to)) if to == from => DnsChange::Image(target),
        (_, _) if was == is => DnsChange::Image(target),
        (_, _) => DnsChange::Upgrade { image: target, from: was, to: is },
    }
}

/// The version that a tag names: registries put their own suffixes behind it (`v1.10.1_vendor.2`).
fn core(tag: &str) -> Option<(u64, u64, u64)> {
    let plain = tag.split(['_', '-', '+']).next()?;
    let mut parts = plain.trim_start_matches('v').splitn(3, '.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_proxy_follows_version_and_registry() {
        let cases = [
            (
                "registry.k8s.io/kube-proxy:v1.34.4",
                "v1.35.4",
                None,
                Some("registry.k8s.io/kube-proxy:v1.35.4"),
            ),
            ("registry.k8s.io/kube-proxy:v1.35.4", "v1.35.4", None, None),
            ("r.io:5000/a/kube-proxy:v1", "v1.35.4", None, Some("r.io:5000/a/kube-proxy:v1.35.4")),
            (
                "registry.k8s.io/kube-proxy:v1.35.4",
                "v1.35.4",
                Some("r.io/x/"),
                Some("r.io/x/kube-proxy:v1.35.4"),
            ),
            ("kube-proxy", "v1.35.4+b.1", None, Some("kube-proxy:v1.35.4_b.1")),
            ("registry.k8s.io/kube-proxy@sha256:00", "v1.35.4", Some("r.io"), None),
        ];
        for (current, version, registry, expected) in cases {
            let found = proxy(current, &version.parse().unwrap(), registry);
            assert_eq!(found.as_deref(), expected, "{current} {version} {registry:?}");
        }
    }

    #[test]
    fn coredns_follows_tag_and_registries() {
        const HERE: &str = "registry.k8s.io/coredns/coredns:v1.12.1";
        let say = |change: DnsChange| match change {
            DnsChange::None => "-".to_owned(),
            DnsChange::Image(image) => image,
            DnsChange::Upgrade { image, from, to } => format!("{image} ({from} to {to})"),
            DnsChange::Refused { from, to } => format!("refused: {from} to {to}"),
        };
        // current; registry of the cluster, of DNS, tag of DNS; what becomes of it
        let cases = [
            (HERE, "", "", "", "-"),
            (HERE, "registry.k8s.io", "", "", "-"),
            (HERE, "", "", "v1.12.1", "-"),
            (HERE, "", "", "v1.13.0", "registry.k8s.io/coredns/coredns:v1.13.0 (v1.12.1 to v1.13.0)"),
            (HERE, "", "", "v1.11.0", "refused: v1.12.1 to v1.11.0"),
            (HERE, "", "", "v1.12.1_vendor.2", "registry.k8s.io/coredns/coredns:v1.12.1_vendor.2"),
            (HERE, "r.io/x", "", "", "r.io/x/coredns:v1.12.1"),
            (HERE, "r.io/x", "d.io", "v1.13.0", "d.io/coredns:v1.13.0 (v1.12.1 to v1.13.0)"),
            ("k8s.gcr.io/coredns:1.7.0", "", "", "", "-"),
            (
                "k8s.gcr.io/coredns:1.7.0",
                "registry.k8s.io",
                "",
                "v1.8.0",
                "registry.k8s.io/coredns/coredns:v1.8.0 (1.7.0 to v1.8.0)",
            ),
            ("d.io/coredns@sha256:00", "r.io", "", "v1.13.0", "-"),
        ];
        for (current, cluster, dns_registry, tag, expected) in cases {
            let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
            let wanted =
                Dns { cluster_registry: some(cluster), registry: some(dns_registry), tag: some(tag) };
            assert_eq!(say(dns(current, &wanted)), expected, "{current} {wanted:?}");
        }
    }
}
