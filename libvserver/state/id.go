package state

import (
	"fmt"
	"strconv"
)

// maxID is NAME_MAX of the filesystems a store can be on: an id names a directory.
const maxID = 255

// CheckID returns an error unless id can name a container: one to 255 of the
// characters A-Z a-z 0-9 _ + - . and neither "." nor "..".
func CheckID(id string) error {
	if id == "" {
		return ErrEmptyID
	}
	if len(id) > maxID {
		return fmt.Errorf("%w: %s... is %d bytes long (at most %d)", ErrInvalidID, strconv.Quote(id[:16]), len(id), maxID)
	}
	for i := 0; i < len(id); i++ {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '_', c == '+', c == '-', c == '.':
		default:
			return fmt.Errorf("%w: %s (allowed are A-Z a-z 0-9 _ + - .)", ErrInvalidID, strconv.Quote(id))
		}
	}
	if id == "." || id == ".." {
		return fmt.Errorf("%w: %s", ErrInvalidID, strconv.Quote(id))
	}
	return nil
}
