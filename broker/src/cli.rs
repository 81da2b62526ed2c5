//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigError, Layers};

/// A Kafka broker and an Apache Fluss server in one process, on one log.
///
/// What a Kafka client writes to a topic, a Fluss client reads as a table, and the other way
/// round, with the same offsets.
#[derive(Debug, Parser)]
#[command(name = "vltava", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage or configuration, 3 the data directory \
cannot be used, 4 a port cannot be had, 5 the checked data is damaged.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients until SIGTERM or SIGINT.
    ///
    /// Settings come from the defaults, then --config FILE, then variables of the environment
    /// (VLTAVA_LOG_SEGMENT_BYTES for log.segment.bytes), then the flags below; the later one wins.
    /// `vltava config-docs --list` names all settings.
    ///
    /// When clients may come, one line on standard output says so:
    ///
    ///   ready kafka=127.0.0.1:9092 fluss=127.0.0.1:9123 http=127.0.0.1:9180
    ///
    /// The log goes to standard error. The first signal stops gracefully: open requests are
    /// answered and everything is flushed. A second one ends the process at once; what was
    /// acknowledged is safe all the same.
    #[command(verbatim_doc_comment)]
    Serve(ServeArgs),

    /// Print the frames and batches of segment files, one line each.
    ///
    /// Ends with exit code 1 where a frame does not hold; those before it, and those of other
    /// segments, are printed.
    DumpLog {
        /// A segment, such as DIR/logs/1/0/00000000000000000000.log, or a directory: all segments
        /// below it.
        #[arg(value_name = "PATH")]
        path: PathBuf,

        /// Print each record below its batch as a line of JSON: offset, timestamp, key, value and
        /// headers of a Kafka record; offset, change type and columns of a Fluss row. Bytes that
        /// are not text are {"hex": "…"}. The columns stand in the catalog of the data directory,
        /// which must not be open in a broker.
        #[arg(long)]
        records: bool,
    },

    /// Verify the catalog and every log of a data directory that no broker has open.
    ///
    /// All frames are read from the first byte, with all checksums. Ends with exit code 5 when
    /// acknowledged records are damaged or missing. The torn tail of a crash is named and is no
    /// failure: the next start cuts it.
    Check {
        /// The data directory; --data-dir DIR is the same.
        #[arg(value_name = "DIR", required_unless_present = "data_dir")]
        directory: Option<PathBuf>,

        /// The data directory.
        #[arg(long, value_name = "DIR", conflicts_with = "directory", hide = true)]
        data_dir: Option<PathBuf>,
    },

    /// Write configs/vltava.toml and docs/configuration.md from the table of settings.
    ConfigDocs(ConfigDocsArgs),
}

/// Flags of `serve`.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Read settings from this TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Keep logs, indexes and catalog here [setting: data.dir, default: vltava-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,

    /// Serve Kafka clients here; port 0 picks a free one [setting: listeners, default:
    /// 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka_listen: Option<String>,

    /// Serve Fluss clients here; port 0 picks a free one [setting: bind.listeners, default:
    /// 127.0.0.1:9123].
    #[arg(long, value_name = "HOST:PORT")]
    pub fluss_listen: Option<String>,

    /// Serve /metrics, /healthz and /readyz here; port 0 picks a free one [setting:
    /// vltava.http.listen, default: 127.0.0.1:9180].
    #[arg(long, value_name = "HOST:PORT")]
    pub http_listen: Option<String>,

    /// Give a setting a value, such as --set log.retention.ms=3600000. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Flags of `config-docs`.
#[derive(Debug, Args)]
pub struct ConfigDocsArgs {
    /// The repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub root: PathBuf,

    /// Write nothing; fail when a file is out of date.
    #[arg(long)]
    pub check: bool,

    /// Print the example file, which lists all settings, and write nothing.
    #[arg(long, conflicts_with = "check")]
    pub list: bool,
}

impl ServeArgs {
    /// The layers of the configuration, with this environment.
    pub fn layers(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Layers, ConfigError> {
        let mut layers = Layers {
            file: self.config.clone(),
            environment: environment.into_iter().collect(),
            flags: Vec::new(),
        };
        for assignment in &self.set {
            layers.set(assignment)?;
        }
        let named = [
            ("--data-dir", "data.dir", self.data_dir.clone()),
            (
                "--kafka-listen",
                "listeners",
                listener("PLAINTEXT", self.kafka_listen.as_ref()),
            ),
            (
                "--fluss-listen",
                "bind.listeners",
                listener("FLUSS", self.fluss_listen.as_ref()),
            ),
            (
                "--http-listen",
                "vltava.http.listen",
                self.http_listen.clone(),
            ),
        ];
        for (flag, setting, value) in named {
            if let Some(value) = value {
                layers
                    .flags
                    .push((setting.to_owned(), value, flag.to_owned()));
            }
        }
        Ok(layers)
    }
}

/// `host:port` as a listener; one that is named already stays as it is.
fn listener(name: &str, address: Option<&String>) -> Option<String> {
    address.map(|address| match address.contains("://") {
        true => address.clone(),
        false => format!("{name}://{address}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn serve(args: &[&str]) -> Result<Config, String> {
        let all = ["vltava", "serve"].iter().chain(args);
        let cli = Cli::try_parse_from(all).map_err(|error| error.to_string())?;
        let Command::Serve(args) = cli.command else {
            return Err("not serve".into());
        };
        let layers = args.layers([]).map_err(|error| error.to_string())?;
        Config::load(&layers)
            .map(|(config, _)| config)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn named_flags_are_settings() {
        let config = serve(&[
            "--data-dir=/d",
            "--kafka-listen=127.0.0.1:0",
            "--fluss-listen=FLUSS://:1, CLIENT://:2",
            "--http-listen=[::1]:3",
            "--set=num.partitions=7",
        ])
        .expect("sound");
        assert_eq!(config.storage().data_dir, PathBuf::from("/d"));
        assert_eq!(config.kafka_listeners()[0].address, "127.0.0.1:0");
        assert_eq!(config.fluss_listeners()[1].name, "CLIENT");
        assert_eq!(config.http_listen(), "[::1]:3");
        assert_eq!(config.topic_creation().partitions_default, 7);
    }

    #[test]
    fn a_mistake_names_the_flag() {
        let error = serve(&["--kafka-listen=nowhere"]).expect_err("no port");
        assert!(error.contains("--kafka-listen"), "{error}");
        assert!(serve(&["--set=x"]).is_err());
        assert!(serve(&["--nonsense"]).is_err());
    }

    #[test]
    fn the_help_is_complete() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
