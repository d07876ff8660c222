//! A revisioned key-value log with watch, over memory or redb.
