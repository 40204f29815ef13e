// Package cli is the command line: it turns flags and arguments into one call
// on package libvserver, prints what that returns, and makes an exit code of it.
//
// One command is one file. The shape of all that is printed (help, usage
// errors, messages) is runc's. Only the command that is called is built, and
// nothing runs before its own work; the package must not be imported by any
// other than main.
package cli
