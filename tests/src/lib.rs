//! Tests of the whole: kubectl, the recording, the tutorial, the real binary.
