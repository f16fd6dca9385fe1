//! Gate: OS threads that carry every call's audio on time.
