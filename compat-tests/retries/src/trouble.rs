//! A broker behind a network, both of which fail.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use harness::producer::Producer;
use harness::proxy::Proxy;
use vltava_compat_restarts::Broker;

use crate::LIMIT;

/// Numbers that look random and follow from their seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From `SEED`, or another one each time.
    pub fn from_env() -> (u64, Random) {
        let seed = match std::env::var("SEED") {
            Ok(seed) => seed.parse().expect("SEED is a number"),
            Err(_) => u64::from(std::process::id()),
        };
        (seed, Random(seed))
    }

    /// The next one below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// The broker, and the network before its Kafka wire.
pub struct Trouble {
    broker: Broker,
    network: Proxy,
}

impl Trouble {
    /// Starts a broker that tells its clients of the network's address only.
    pub fn start() -> Trouble {
        let network = Proxy::open().expect("a port");
        let told = format!("advertised.listeners=PLAINTEXT://{}", network.address());
        let broker = Broker::start_with([told]);
        let server: SocketAddr = broker.kafka().parse().expect("an address");
        network.forward_to(server);
        Trouble { broker, network }
    }

    /// Where Kafka clients go.
    pub fn kafka(&self) -> String {
        self.network.address().to_string()
    }

    /// Where Fluss clients go: no network lies before it.
    pub fn fluss(&self) -> String {
        self.broker.fluss()
    }

    /// Answers are lost while what `send` has sent is under way, and then the producer is killed. Gives the records that
    /// it knew of, by their numbers.
    pub fn strike_down(
        &mut self,
        mut producer: Producer,
        send: impl FnOnce(&mut Producer),
    ) -> BTreeSet<usize> {
        self.lose_answers(|| send(&mut producer));
        let told = producer.kill();
        self.network.cut();
        told
    }

    fn lose_answers(&self, send: impl FnOnce()) {
        self.network.keep_answers_back();
        send();
        let lost = self.network.has_kept_back(LIMIT);
        assert!(lost, "the broker answered nothing");
    }

    /// Something fails while what `send` has sent is under way: most often answers are lost, and the broker is killed;
    /// sometimes one of both.
    pub fn strike(&mut self, random: &mut Random, send: impl FnOnce()) {
        let kind = random.below(4);
        if kind == 1 {
            send();
        } else {
            // What was written then must not be written again.
            self.lose_answers(send);
        }
        if kind == 0 {
            self.network.cut();
        } else {
            let network = &self.network;
            self.broker.kill_and(|| network.cut());
        }
    }
}
