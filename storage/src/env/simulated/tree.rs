//! The names of a simulated disk: what is there now, what is durable, and the changes between.
//!
//! A change of a name is pending until a directory that it touches is synced. A power loss keeps
//! any subset of the pending changes that can be applied in order; changes of different names do
//! not wait for each other, which is more than a journalling file system would lose, and no more
//! than POSIX allows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Component, Path};

use super::content::Content;
use super::random::SeededRandomness;

pub(super) type NodeId = u64;
const ROOT: NodeId = 0;

#[derive(Debug, Default)]
pub(super) struct Names {
    current: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
}

#[derive(Debug)]
pub(super) enum Kind {
    File(Content),
    Directory(Names),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Handles that are open.
    pub(super) open_count: usize,
    /// True when a name leads here now.
    pub(super) linked: bool,
}

/// One change of names. Removing and adding in one change is atomic, as a rename is.
#[derive(Debug)]
struct Change {
    node: NodeId,
    removed: Option<(NodeId, String)>,
    added: Option<(NodeId, String)>,
    /// True for a rename, which replaces what it finds.
    replaces: bool,
}

impl Change {
    fn names(&self) -> impl Iterator<Item = &(NodeId, String)> {
        self.removed.iter().chain(self.added.iter())
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: HashMap<NodeId, Node>,
    pending: Vec<Change>,
    next_node: NodeId,
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Node {
            kind: Kind::Directory(Names::default()),
            open_count: 0,
            linked: true,
        };
        Tree {
            nodes: HashMap::from([(ROOT, root)]),
            pending: Vec::new(),
            next_node: 1,
        }
    }

    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes
            .get_mut(&id)
            .expect("ids are given out for nodes that exist")
    }

    fn names(&mut self, id: NodeId) -> io::Result<&mut Names> {
        match &mut self.node(id).kind {
            Kind::Directory(names) => Ok(names),
            Kind::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// What a path leads to.
    pub(super) fn find(&mut self, path: &Path) -> io::Result<NodeId> {
        let mut id = ROOT;
        for part in parts(path)? {
            id = *self
                .names(id)?
                .current
                .get(part)
                .ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(id)
    }

    /// The directory of a path and the path's last part.
    fn find_parent(&mut self, path: &Path) -> io::Result<(NodeId, String)> {
        let parts = parts(path)?;
        let (last, parents) = parts.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        let mut id = ROOT;
        for part in parents {
            id = *self
                .names(id)?
                .current
                .get(*part)
                .ok_or(io::ErrorKind::NotFound)?;
        }
        self.names(id)?;
        Ok((id, (*last).to_owned()))
    }

    /// Makes an empty file; its name must be free.
    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        let (parent, name) = self.find_parent(path)?;
        if self.names(parent)?.current.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(self.add(parent, name, Kind::File(Content::default())))
    }

    fn add(&mut self, parent: NodeId, name: String, kind: Kind) -> NodeId {
        let node = self.next_node;
        self.next_node += 1;
        self.nodes.insert(
            node,
            Node {
                kind,
                open_count: 0,
                linked: true,
            },
        );
        self.change(Change {
            node,
            removed: None,
            added: Some((parent, name)),
            replaces: false,
        });
        node
    }

    pub(super) fn create_directories(&mut self, path: &Path) -> io::Result<()> {
        let mut id = ROOT;
        for part in parts(path)? {
            id = match self.names(id)?.current.get(part) {
                Some(next) => *next,
                None => self.add(id, part.to_owned(), Kind::Directory(Names::default())),
            };
        }
        self.names(id).map(|_| ())
    }

    /// Removes a file; returns the bytes that it no longer uses.
    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<u64> {
        let node = self.find(path)?;
        if matches!(self.node(node).kind, Kind::Directory(_)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let name = self.find_parent(path)?;
        Ok(self.unlink(node, name))
    }

    /// Removes a directory with all that is in it, from the leaves up; returns the bytes freed.
    pub(super) fn remove_directory(&mut self, path: &Path) -> io::Result<u64> {
        let node = match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other?,
        };
        self.names(node)?;
        let name = self.find_parent(path)?;
        Ok(self.remove_all(node, name))
    }

    fn remove_all(&mut self, node: NodeId, name: (NodeId, String)) -> u64 {
        let children = match &self.node(node).kind {
            Kind::Directory(names) => names.current.clone(),
            Kind::File(_) => BTreeMap::new(),
        };
        let mut freed = 0;
        for (child_name, child) in children {
            freed += self.remove_all(child, (node, child_name));
        }
        freed + self.unlink(node, name)
    }

    fn unlink(&mut self, node: NodeId, name: (NodeId, String)) -> u64 {
        self.change(Change {
            node,
            removed: Some(name),
            added: None,
            replaces: false,
        });
        self.unlinked(node)
    }

    fn unlinked(&mut self, id: NodeId) -> u64 {
        let node = self.node(id);
        node.linked = false;
        match &node.kind {
            Kind::File(content) => content.length() as u64,
            Kind::Directory(_) => 0,
        }
    }

    /// Renames; returns the bytes of a file that was replaced.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<u64> {
        let node = self.find(from)?;
        let from = self.find_parent(from)?;
        let to = self.find_parent(to)?;
        let mut freed = 0;
        if let Some(&replaced) = self.names(to.0)?.current.get(&to.1) {
            if replaced == node {
                return Ok(0);
            }
            let is_directory = |node: &Node| matches!(node.kind, Kind::Directory(_));
            if is_directory(self.node(replaced)) || is_directory(self.node(node)) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            freed = self.unlinked(replaced);
        }
        self.change(Change {
            node,
            removed: Some(from),
            added: Some(to),
            replaces: true,
        });
        Ok(freed)
    }

    fn change(&mut self, change: Change) {
        if let Some((parent, name)) = &change.removed {
            self.names_of(*parent).current.remove(name);
        }
        if let Some((parent, name)) = &change.added {
            self.names_of(*parent)
                .current
                .insert(name.clone(), change.node);
        }
        self.pending.push(change);
    }

    fn names_of(&mut self, id: NodeId) -> &mut Names {
        self.names(id).expect("changes name directories only")
    }

    /// Name, node id and kind of all that is in a directory.
    pub(super) fn list(&mut self, id: NodeId) -> io::Result<Vec<(String, NodeId)>> {
        Ok(self
            .names(id)?
            .current
            .iter()
            .map(|(name, id)| (name.clone(), *id))
            .collect())
    }

    /// Makes the pending changes of a directory durable, and those that came before them on the
    /// same names.
    pub(super) fn sync_directory(&mut self, id: NodeId) -> io::Result<()> {
        self.names(id)?;
        let mut needed_names: BTreeSet<(NodeId, String)> = BTreeSet::new();
        let mut needed_directories = BTreeSet::from([id]);
        let mut now = Vec::new();
        let mut later = Vec::new();
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            let is_needed = change
                .names()
                .any(|name| needed_directories.contains(&name.0) || needed_names.contains(name));
            if is_needed {
                needed_names.extend(change.names().cloned());
                if change.added.is_none() {
                    // A directory can only go when it is empty.
                    needed_directories.insert(change.node);
                }
                now.push(change);
            } else {
                later.push(change);
            }
        }
        later.reverse();
        self.pending = later;
        for change in now.into_iter().rev() {
            self.apply(&change);
        }
        self.forget_unreachable();
        Ok(())
    }

    /// Applies a change to the durable names, if they allow it.
    fn apply(&mut self, change: &Change) {
        if let Some((parent, name)) = &change.removed
            && self.durable_of(*parent).and_then(|names| names.get(name)) != Some(&change.node)
        {
            return;
        }
        if let Some((parent, name)) = &change.added
            && !change.replaces
            && self
                .durable_of(*parent)
                .is_none_or(|names| names.contains_key(name))
        {
            return;
        }
        let is_full = self
            .durable_of(change.node)
            .is_some_and(|names| !names.is_empty());
        if change.added.is_none() && is_full {
            return;
        }
        if let Some((parent, name)) = &change.removed {
            self.names_of(*parent).durable.remove(name);
        }
        if let Some((parent, name)) = &change.added {
            self.names_of(*parent)
                .durable
                .insert(name.clone(), change.node);
        }
    }

    fn durable_of(&self, id: NodeId) -> Option<&BTreeMap<String, NodeId>> {
        match &self.nodes.get(&id)?.kind {
            Kind::Directory(names) => Some(&names.durable),
            Kind::File(_) => None,
        }
    }

    /// Frees nodes that no name and no handle leads to, in memory or on the platter.
    pub(super) fn forget_unreachable(&mut self) {
        let mut alive: BTreeSet<NodeId> = self.pending.iter().map(|change| change.node).collect();
        alive.extend(
            self.pending
                .iter()
                .flat_map(Change::names)
                .map(|(parent, _)| *parent),
        );
        alive.extend(
            self.nodes
                .iter()
                .filter(|(_, n)| n.linked || n.open_count > 0)
                .map(|n| *n.0),
        );
        let mut next: Vec<NodeId> = alive.iter().copied().collect();
        while let Some(id) = next.pop() {
            if let Some(names) = self.durable_of(id) {
                next.extend(names.values().copied().filter(|child| alive.insert(*child)));
            }
        }
        self.nodes.retain(|id, _| alive.contains(id));
    }

    /// Power loss: what is current afterwards is what survived.
    pub(super) fn crash(&mut self, random: &SeededRandomness) {
        let kept_of_16 = [0, 8, 15, 16][random.below(4) as usize];
        for change in std::mem::take(&mut self.pending) {
            if random.below(16) < kept_of_16 {
                self.apply(&change);
            }
        }
        let mut nodes: Vec<_> = self.nodes.iter_mut().collect();
        // The map's order is not the same in every run.
        nodes.sort_by_key(|(id, _)| **id);
        for (_, node) in nodes {
            node.open_count = 0;
            node.linked = false;
            match &mut node.kind {
                Kind::Directory(names) => names.current = names.durable.clone(),
                Kind::File(content) => content.crash(random),
            }
        }
        self.close_all();
    }

    /// Forgets open handles and what only they kept.
    pub(super) fn close_all(&mut self) {
        for node in self.nodes.values_mut() {
            node.open_count = 0;
            node.linked = false;
        }
        let mut next = vec![ROOT];
        while let Some(id) = next.pop() {
            let node = self.node(id);
            node.linked = true;
            if let Kind::Directory(names) = &node.kind {
                next.extend(names.current.values().copied());
            }
        }
        self.forget_unreachable();
    }

    /// Bytes of all files that have a name.
    pub(super) fn used_bytes(&self) -> u64 {
        let length = |node: &Node| match &node.kind {
            Kind::File(content) if node.linked => content.length() as u64,
            _ => 0,
        };
        self.nodes.values().map(length).sum()
    }
}

/// The parts of a path; relative paths start at the root, as absolute ones do.
fn parts(path: &Path) -> io::Result<Vec<&str>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or(io::ErrorKind::InvalidFilename)?);
            }
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
        }
    }
    Ok(parts)
}
