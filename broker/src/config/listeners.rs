//! Where the broker listens and what clients are told.

use std::net::IpAddr;

use super::settings::Config;
use super::value::{Unfit, Value};

/// One listener of a wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Its name, such as `PLAINTEXT`.
    pub name: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// What clients are told; `None` tells them where they have connected to.
    pub advertised: Option<AdvertisedAddress>,
    /// Whether clients must log in.
    pub security: Security,
}

/// An address that clients are told to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertisedAddress {
    /// A name or an address.
    pub host: String,
    /// The port; 0 stands for the one that the listener has.
    pub port: u16,
}

/// Whether clients must log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// They are anonymous.
    Plaintext,
    /// They log in with a mechanism of SASL.
    Sasl,
}

impl Config {
    /// The listeners of the Kafka wire; at least one.
    pub fn kafka_listeners(&self) -> Vec<ListenerConfig> {
        self.listeners("listeners")
    }

    /// The listeners of the Fluss wire; at least one.
    pub fn fluss_listeners(&self) -> Vec<ListenerConfig> {
        self.listeners("bind.listeners")
    }

    fn listeners(&self, key: &str) -> Vec<ListenerConfig> {
        let advertised: Vec<_> = self
            .list("advertised.listeners")
            .iter()
            .filter_map(|text| endpoint(text))
            .collect();
        let secured = self.list("security.protocol.map");
        self.list(key)
            .iter()
            .filter_map(|text| endpoint(text))
            .map(|(name, host, port)| {
                let told = advertised.iter().find(|(told, ..)| *told == name);
                let sasl = secured.iter().any(|entry| {
                    entry.split_once(':').is_some_and(|(listener, protocol)| {
                        listener.trim() == name && protocol.trim().eq_ignore_ascii_case("sasl")
                    })
                });
                ListenerConfig {
                    name: name.to_owned(),
                    address: join(host, port),
                    advertised: told.map(|(_, host, port)| AdvertisedAddress {
                        host: (*host).to_owned(),
                        port: *port,
                    }),
                    security: if sasl {
                        Security::Sasl
                    } else {
                        Security::Plaintext
                    },
                }
            })
            .collect()
    }
}

/// Checks what the table's types cannot say, such as the form of a listener.
pub(super) fn check(key: &str, value: &Value) -> Result<(), Unfit> {
    let none = Vec::new();
    let parts = match value {
        Value::List(parts) => parts,
        _ => &none,
    };
    match key {
        "listeners" | "bind.listeners" | "advertised.listeners" => {
            for (index, part) in parts.iter().enumerate() {
                let (name, host, _) = endpoint(part)
                    .ok_or_else(|| Unfit(format!("{part:?} is not NAME://host:port")))?;
                if key == "advertised.listeners" && (host.is_empty() || host == "0.0.0.0") {
                    return Err(Unfit(format!("clients cannot connect to {part:?}")));
                }
                let earlier = parts[..index].iter().filter_map(|part| endpoint(part));
                if earlier.into_iter().any(|(other, ..)| other == name) {
                    return Err(Unfit(format!("two listeners are called {name}")));
                }
            }
            if parts.is_empty() && key != "advertised.listeners" {
                return Err(Unfit("at least one listener is needed".into()));
            }
            Ok(())
        }
        "remote.data.dir" => super::snapshots::check(value),
        "security.protocol.map" => parts.iter().try_for_each(|part| {
            let protocol = part.split_once(':').map(|(_, protocol)| protocol.trim());
            match protocol {
                Some(p)
                    if ["plaintext", "sasl"]
                        .iter()
                        .any(|known| p.eq_ignore_ascii_case(known)) =>
                {
                    Ok(())
                }
                _ => Err(Unfit(format!(
                    "{part:?} is not NAME:PLAINTEXT or NAME:SASL"
                ))),
            }
        }),
        "max.connections.per.ip.overrides" => parts.iter().try_for_each(|part| {
            connections_override(part)
                .map(|_| ())
                .ok_or_else(|| Unfit(format!("{part:?} is not address:count")))
        }),
        "security.sasl.plain.credentials" => super::parts::users(value)
            .map(|_| ())
            .ok_or_else(|| Unfit("users are written user:password, between commas".into())),
        _ => Ok(()),
    }
}

/// `10.0.0.1:5` or `::1:5`.
pub(super) fn connections_override(text: &str) -> Option<(IpAddr, usize)> {
    let (address, count) = text.rsplit_once(':')?;
    Some((
        address.trim_matches(['[', ']']).parse().ok()?,
        count.parse().ok()?,
    ))
}

/// The name, host and port of `NAME://host:port`. An empty host is every address.
fn endpoint(text: &str) -> Option<(&str, &str, u16)> {
    let (name, address) = text.trim().split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!name.is_empty()).then_some((name, host, port.parse().ok()?))
}

fn join(host: &str, port: u16) -> String {
    match host {
        "" => format!("0.0.0.0:{port}"),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_know_what_to_advertise_and_who_logs_in() {
        let config = Config::with([
            ("bind.listeners", "FLUSS://:9123, CLIENT://[::1]:9124"),
            ("advertised.listeners", "CLIENT://flow.example:19124"),
            ("security.protocol.map", "CLIENT:sasl"),
        ])
        .expect("sound");
        let listeners = config.fluss_listeners();
        assert_eq!(listeners[0].address, "0.0.0.0:9123");
        assert_eq!(listeners[0].advertised, None);
        assert_eq!(listeners[0].security, Security::Plaintext);
        assert_eq!(listeners[1].address, "[::1]:9124");
        assert_eq!(
            listeners[1].advertised,
            Some(AdvertisedAddress {
                host: "flow.example".into(),
                port: 19124
            })
        );
        assert_eq!(listeners[1].security, Security::Sasl);
    }

    #[test]
    fn malformed_listeners_are_refused() {
        for bad in [
            "127.0.0.1:9092",
            "A://x",
            "A://x:99999",
            "://x:1",
            "A://x:1,A://x:2",
            "",
        ] {
            assert!(
                Config::with([("listeners", bad)]).is_err(),
                "{bad:?} was taken"
            );
        }
        assert!(Config::with([("advertised.listeners", "A://0.0.0.0:1")]).is_err());
        assert!(Config::with([("security.protocol.map", "A:SSL")]).is_err());
        assert!(Config::with([("max.connections.per.ip.overrides", "localhost:1")]).is_err());
    }
}
