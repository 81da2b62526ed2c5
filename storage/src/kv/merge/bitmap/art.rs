//! The tree from keys (the upper 48 bits of values) to container indexes in 64-bit bitmaps.
//!
//! ```text
//! node:  type u8 | children u16 | prefix length u8 | prefix | body | children in key order
//! type:  0, 1, 2, 3 for nodes of up to 4, 16, 48, 256 children; 4 for a leaf
//! body:  4 and 16   the children's key bytes, 4 and 2 × 8 of them, each group last byte first
//!        48         for each key byte its child's place or 255; groups of 8, last byte first
//!        256        one bit per key byte
//!        leaf       key, 6 bytes big-endian | container index u64
//! ```
//!
//! A node grows when its type is full, and never shrinks here: the bytes are those that Java's
//! tree has after the same insertions.

use super::{BitmapError, Input};

pub(super) const KEY_LEN: usize = 6;
pub(super) type Key = [u8; KEY_LEN];

const LEAF: u8 = 4;
/// Children that the inner node types hold.
const CAPACITY: [usize; 4] = [4, 16, 48, 256];
const NO_PLACE: u8 = 0xff;

#[derive(Debug)]
pub(super) enum Node {
    Leaf {
        /// Left over from removals; without meaning.
        prefix: Vec<u8>,
        key: Key,
        index: u64,
    },
    Inner(Inner),
}

#[derive(Debug)]
pub(super) struct Inner {
    node_type: u8,
    prefix: Vec<u8>,
    /// Key bytes of the children, ascending.
    bytes: Vec<u8>,
    /// Places of the children in a node of 48, which are in order of insertion.
    places: Vec<u8>,
    children: Vec<Node>,
}

impl Node {
    pub(super) fn leaf(key: Key, index: u64) -> Node {
        let prefix = Vec::new();
        Node::Leaf { prefix, key, index }
    }

    /// Reads the tree; calls `leaf` with key and container index, in key order.
    pub(super) fn read<'a>(
        input: &mut Input<'a>,
        path: &mut Vec<u8>,
        leaf: &mut impl FnMut(Key, u64) -> Result<(), BitmapError>,
    ) -> Result<Node, BitmapError> {
        let node_type = input.u8()?;
        let count = usize::from(input.u16()?);
        let prefix_len = usize::from(input.u8()?);
        if prefix_len >= KEY_LEN {
            return Err(BitmapError::Tree);
        }
        let prefix = input.bytes(prefix_len)?.to_vec();
        if node_type == LEAF {
            let key = input.array()?;
            let index = input.u64()?;
            if !key.starts_with(path) {
                return Err(BitmapError::Tree);
            }
            leaf(key, index)?;
            return Ok(Node::Leaf { prefix, key, index });
        }
        let capacity = CAPACITY.get(usize::from(node_type)).copied();
        if count == 0 || capacity.is_none_or(|c| count > c) {
            return Err(BitmapError::Tree);
        }
        if path.len() + prefix_len >= KEY_LEN {
            return Err(BitmapError::Tree);
        }
        let (bytes, places) = read_body(node_type, count, input)?;
        let depth = path.len();
        path.extend_from_slice(&prefix);
        let mut children = Vec::with_capacity(count);
        for byte in &bytes {
            path.push(*byte);
            children.push(Node::read(input, path, leaf)?);
            path.pop();
        }
        path.truncate(depth);
        Ok(Node::Inner(Inner {
            node_type,
            prefix,
            bytes,
            places,
            children,
        }))
    }

    /// The container index of a key.
    pub(super) fn find(&self, key: &Key, depth: usize) -> Option<u64> {
        match self {
            Node::Leaf {
                key: own, index, ..
            } => (own == key).then_some(*index),
            Node::Inner(inner) => {
                let rest = key[depth..].strip_prefix(&inner.prefix[..])?;
                let child = inner.bytes.binary_search(rest.first()?).ok()?;
                inner.children[child].find(key, KEY_LEN - rest.len() + 1)
            }
        }
    }

    /// Inserts a key that is not there.
    pub(super) fn insert(&mut self, key: Key, index: u64, depth: usize) {
        let split = match self {
            Node::Leaf {
                prefix, key: own, ..
            } => {
                prefix.clear();
                let common = common_prefix(&own[depth..], &key[depth..]);
                Some((common, own[depth + common]))
            }
            Node::Inner(inner) => {
                let common = common_prefix(&inner.prefix, &key[depth..]);
                (common < inner.prefix.len()).then(|| {
                    let byte = inner.prefix[common];
                    inner.prefix.drain(..=common);
                    (common, byte)
                })
            }
        };
        if let Some((common, byte)) = split {
            let mut above = Inner {
                node_type: 0,
                prefix: key[depth..depth + common].to_vec(),
                bytes: Vec::new(),
                places: Vec::new(),
                children: Vec::new(),
            };
            let below = std::mem::replace(self, Node::leaf(key, index));
            above.add(byte, below);
            let leaf = std::mem::replace(self, Node::Inner(above));
            if let Node::Inner(above) = self {
                above.add(key[depth + common], leaf);
            }
            return;
        }
        let Node::Inner(inner) = self else {
            unreachable!("a leaf was split");
        };
        let depth = depth + inner.prefix.len();
        match inner.bytes.binary_search(&key[depth]) {
            Ok(child) => inner.children[child].insert(key, index, depth + 1),
            Err(_) => inner.add(key[depth], Node::leaf(key, index)),
        }
    }

    /// Appends the tree.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Node::Leaf { prefix, key, index } => {
                write_head(LEAF, 0, prefix, out);
                out.extend_from_slice(key);
                out.extend_from_slice(&index.to_le_bytes());
            }
            Node::Inner(inner) => {
                write_head(inner.node_type, inner.children.len(), &inner.prefix, out);
                inner.write_body(out);
                for child in &inner.children {
                    child.write(out);
                }
            }
        }
    }
}

impl Inner {
    fn add(&mut self, byte: u8, child: Node) {
        let count = self.children.len();
        if count == CAPACITY[usize::from(self.node_type)] {
            self.node_type += 1;
            self.places = match self.node_type {
                2 => (0..count as u8).collect(),
                _ => Vec::new(),
            };
        }
        let at = self.bytes.partition_point(|b| *b < byte);
        self.bytes.insert(at, byte);
        self.children.insert(at, child);
        if self.node_type == 2 {
            // The place behind the last one, or the first free one where something was removed.
            let free = |place: &u8| !self.places.contains(place);
            let next = count as u8;
            let place = if free(&next) {
                Some(next)
            } else {
                (0..48).find(free)
            };
            self.places.insert(at, place.unwrap_or(NO_PLACE));
        }
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self.node_type {
            0 | 1 => {
                let group = 4 << self.node_type;
                out.resize(start + CAPACITY[usize::from(self.node_type)], 0);
                for (i, byte) in self.bytes.iter().enumerate() {
                    out[start + reversed(i, group)] = *byte;
                }
            }
            2 => {
                out.resize(start + 256, NO_PLACE);
                for (byte, place) in self.bytes.iter().zip(&self.places) {
                    out[start + reversed(usize::from(*byte), 8)] = *place;
                }
            }
            _ => {
                out.resize(start + 32, 0);
                for byte in &self.bytes {
                    out[start + usize::from(byte / 8)] |= 1 << (byte % 8);
                }
            }
        }
    }
}

/// Position `i` when every group of bytes is written last byte first.
fn reversed(i: usize, group: usize) -> usize {
    i / group * group + (group - 1 - i % group)
}

fn write_head(node_type: u8, count: usize, prefix: &[u8], out: &mut Vec<u8>) {
    out.push(node_type);
    out.extend_from_slice(&(count as u16).to_le_bytes());
    out.push(prefix.len() as u8);
    out.extend_from_slice(prefix);
}

/// The key bytes of the children, ascending, and their places in a node of 48.
fn read_body(
    node_type: u8,
    count: usize,
    input: &mut Input<'_>,
) -> Result<(Vec<u8>, Vec<u8>), BitmapError> {
    let mut bytes = Vec::with_capacity(count);
    let mut places = Vec::new();
    match node_type {
        0 | 1 => {
            let group = 4 << node_type;
            let body = input.bytes(CAPACITY[usize::from(node_type)])?;
            bytes.extend((0..count).map(|i| body[reversed(i, group)]));
        }
        2 => {
            let body = input.bytes(256)?;
            for byte in 0..=255 {
                let place = body[reversed(usize::from(byte), 8)];
                if place != NO_PLACE {
                    bytes.push(byte);
                    places.push(place);
                }
            }
        }
        _ => {
            let body = input.bytes(32)?;
            bytes.extend((0..=255).filter(|b: &u8| body[usize::from(b / 8)] >> (b % 8) & 1 == 1));
        }
    }
    if bytes.len() != count || !bytes.is_sorted_by(|a, b| a < b) {
        return Err(BitmapError::Tree);
    }
    Ok((bytes, places))
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
