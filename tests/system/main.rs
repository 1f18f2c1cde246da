//! The whole-system tests. One binary, so that the virtual node needs one file; one module for each kind of promise.

mod bad_node_files;
mod bad_programs;
mod busybox;
mod crashes;
mod ends;
mod hostile;
mod no_kvm;
mod nodes;
mod programs;
mod service_vm;
mod streams;
mod waiting;
