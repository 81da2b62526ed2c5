//! The Fluss wire: frames, messages, table descriptors, and the batches that travel in them.
