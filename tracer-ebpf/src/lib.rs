//! Empty on purpose: the programs are the binary target beside this file. A library target lets
//! `tracer`'s build script name this crate as a build dependency.
#![no_std]
