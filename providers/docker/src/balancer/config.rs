//! haproxy's configuration. Pure.

use std::fmt::Write as _;

/// What the load balancer shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Where clients come in.
    pub(crate) port: u16,
    /// Clients may come in over IPv6, too.
    pub(crate) ipv6: bool,
    /// The API servers, by name.
    pub(crate) members: Vec<Member>,
}

/// One API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) port: u16,
    /// 0 to 256; a server of weight 0 gets no new connections.
    pub(crate) weight: u16,
}

/// Where haproxy says how its servers are.
pub(crate) const STATISTICS: u16 = 8404;

/// What does not depend on the cluster.
///
/// Watches are silent for long: what counts for them is `timeout tunnel`. A server that does not answer is left
/// within two seconds, and a connection that cannot be made goes to another one at once.
const HEAD: &str = "\
# Written by Windlass, which writes it again when the control plane changes.
global
  log stdout format raw local0 notice
  maxconn 4000
  # An engine may allow fewer open files than that takes: less is better than nothing.
  no strict-limits

defaults
  log global
  mode tcp
  option dontlognull
  option redispatch 1
  retries 3
  timeout connect 2s
  timeout client 50s
  timeout server 50s
  timeout tunnel 24h
  timeout check 2s
";

impl Layout {
    /// The configuration.
    pub(crate) fn render(&self) -> String {
        let mut text = HEAD.to_owned();
        let mut line = |line: std::fmt::Arguments<'_>| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{line}");
        };
        line(format_args!("\nfrontend statistics\n  mode http"));
        self.binds(STATISTICS).iter().for_each(|bind| line(format_args!("{bind}")));
        line(format_args!("  stats enable\n  stats uri /stats\n  stats refresh 5s"));
        line(format_args!("\nfrontend control-plane"));
        self.binds(self.port).iter().for_each(|bind| line(format_args!("{bind}")));
        line(format_args!("  default_backend kube-apiservers\n\nbackend kube-apiservers"));
        line(format_args!("  option httpchk GET /healthz"));
        line(format_args!(
            "  default-server check check-ssl verify none inter 1s fall 2 rise 1 on-marked-down shutdown-sessions"
        ));
        for Member { name, address, port, weight } in &self.members {
            let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
            line(format_args!("  server {name} {host}:{port} weight {weight}"));
        }
        text
    }

    fn binds(&self, port: u16) -> Vec<String> {
        let v4 = format!("  bind *:{port}");
        let v6 = format!("  bind :::{port} v6only");
        if self.ipv6 { vec![v4, v6] } else { vec![v4] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, address: &str, weight: u16) -> Member {
        Member { name: name.to_owned(), address: address.to_owned(), port: 6443, weight }
    }

    #[test]
    fn the_configuration_is_the_golden_one() {
        let (one, other) = (member("c1-a", "172.18.0.3", 100), member("c1-b", "172.18.0.4", 0));
        let layout = |port, ipv6, members| Layout { port, ipv6, members };
        for (name, layout) in [
            ("empty", layout(6443, false, vec![])),
            ("draining", layout(6443, false, vec![one, other])),
            ("ipv6", layout(8443, true, vec![member("c1-a", "fd00::3", 100)])),
        ] {
            let rendered = layout.render();
            let golden = format!("{}/src/balancer/golden/{name}.cfg", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("WINDLASS_GOLDEN").is_some() {
                std::fs::write(&golden, &rendered).unwrap();
            }
            let expected = std::fs::read_to_string(&golden).unwrap();
            assert_eq!(rendered, expected, "{name}; WINDLASS_GOLDEN=1 writes the file anew");
        }
    }
}
