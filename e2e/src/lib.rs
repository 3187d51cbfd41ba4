//! Real clusters, databases, DNS and git on one machine.
