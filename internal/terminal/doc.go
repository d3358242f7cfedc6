// Package terminal writes what people read at a terminal: tables, colours and the progress of long
// work. What goes to a file or a pipe has no colour and no bar: a program may read it, and a log
// keeps it.
package terminal
