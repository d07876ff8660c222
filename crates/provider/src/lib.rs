//! What an infrastructure provider implements, and the suite that proves it.
