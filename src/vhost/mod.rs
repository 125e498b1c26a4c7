//! The vhost-user daemon: virtqueues in, card calls out.
