//! The Kubernetes API of Bascule.
