// Package sqlrelay keeps the books of the relay in the database.
package sqlrelay
