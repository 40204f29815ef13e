package wire

import "unsafe"

// The Set functions consume one value into *p as encoding/json would: null
// leaves a string, number or boolean alone and makes a pointer, slice or map
// nil; a pointer or map that is set is filled further, so of two members of
// one name the later wins field by field. Unlike encoding/json, a slice never
// keeps anything of what it held before. A value of the wrong type leaves *p
// alone and is a fault.

// SetString consumes a string.
func SetString[T ~string](r *Reader, p *T) {
	if r.peek() == '"' {
		*p = T(r.str())
	} else if !r.Null() {
		r.mismatch("a string")
	}
}

// SetBool consumes true or false.
func SetBool[T ~bool](r *Reader, p *T) {
	if c := r.peek(); c == 't' || c == 'f' {
		*p = T(r.Bool())
	} else if !r.Null() {
		r.mismatch("true or false")
	}
}

// SetInt consumes a whole number that fits T.
func SetInt[T ~int | ~int8 | ~int16 | ~int32 | ~int64](r *Reader, p *T) {
	if v, ok := r.int(uint(unsafe.Sizeof(*p)) * 8); ok {
		*p = T(v)
	}
}

// SetUint consumes a whole number that is not negative and fits T.
func SetUint[T ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64](r *Reader, p *T) {
	if v, ok := r.uint(uint(unsafe.Sizeof(*p)) * 8); ok {
		*p = T(v)
	}
}

// SetAny consumes any value.
func SetAny(r *Reader, p *any) { *p = r.Any() }

// SetStrings consumes an array of strings.
func SetStrings[T ~string](r *Reader, p *[]T) {
	if r.peek() != '[' {
		if r.Null() {
			*p = nil
		} else {
			r.mismatch("an array")
		}
		return
	}
	s := r.Strings()
	*p = unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(s))), len(s)) // T is a string by another name
}

// SetSlice consumes an array, each element by f. An empty slice that has
// capacity is room to use, all zero.
func SetSlice[T any](r *Reader, p *[]T, f func(*Reader, *T)) {
	if r.Null() {
		*p = nil
		return
	}
	if !r.BeginArray() {
		return
	}
	out := []T{}
	if *p != nil && len(*p) == 0 {
		out = *p // room that the caller has made
	}
	for r.NextElem() {
		if len(out) == cap(out) {
			grown := make([]T, len(out), max(4, 4*cap(out))) // few steps, each of another size class
			copy(grown, out)
			out = grown
		}
		out = out[:len(out)+1]
		f(r, &out[len(out)-1])
	}
	*p = out
}

// SetPtr consumes a value by f into what *p points to, which it makes if *p is
// nil.
func SetPtr[T any](r *Reader, p **T, f func(*Reader, *T)) {
	if r.Null() {
		*p = nil
		return
	}
	if *p == nil {
		*p = new(T)
	}
	f(r, *p)
}

// SetStringMap consumes an object of strings.
func SetStringMap(r *Reader, p *map[string]string) { *p = r.StringMap(*p) }

// SetMap consumes an object, each member's value by f.
func SetMap[T any](r *Reader, p *map[string]T, f func(*Reader, *T)) {
	if r.Null() {
		*p = nil
		return
	}
	if !r.BeginObject() {
		return
	}
	if *p == nil {
		*p = map[string]T{}
	}
	for r.NextKey() {
		k := r.key
		var v T
		f(r, &v)
		(*p)[k] = v
	}
}
