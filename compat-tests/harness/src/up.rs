//! `compat up`: one server for whoever wants to try something by hand.

use crate::command_line::Server;
use crate::servers;
use harness::peers::{FlussOptions, FlussPeer, KafkaOptions, KafkaPeer};
use harness::{Addresses, cache};
use std::error::Error;
use std::io::{self, Read, Write};

/// Starts it, prints its ready line, and stops it when standard input ends.
pub fn up(server: Server) -> Result<(), Box<dyn Error>> {
    let data = tempfile::Builder::new()
        .prefix("vltava-up-")
        .tempdir_in(cache::directory("up")?)?;
    match server {
        Server::Vltava => {
            let running = servers::start_vltava(data.path().to_owned(), false)?;
            hold(&running.addresses)
        }
        Server::Kafka => {
            let peer = KafkaPeer::start(data.path(), &KafkaOptions::default())?;
            hold(&peer.addresses())
        }
        Server::Fluss => {
            let peer = FlussPeer::start(data.path(), &FlussOptions::default())?;
            hold(&peer.addresses())
        }
    }
}

fn hold(addresses: &Addresses) -> Result<(), Box<dyn Error>> {
    for (name, address) in addresses.variables() {
        println!("export {name}={address}");
    }
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
