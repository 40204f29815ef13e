package main

import (
	"fmt"
	"reflect"
	"strings"
)

// required names the members that runtime-spec 1.3 requires and that have a
// meaning at their zero value, so that only the decoder can tell that they are
// missing. (A missing string is empty, which the checks refuse.) user.uid and
// user.gid are left out: they default to 0 in practice. The value is the
// condition under which the member is required, "" for always.
var required = map[string]map[string]string{
	"LinuxDevice":            {"major": `v.Type != "p"`, "minor": `v.Type != "p"`},
	"LinuxDeviceCgroup":      {"allow": ""},
	"LinuxHugepageLimit":     {"limit": ""},
	"LinuxIDMapping":         {"containerID": "", "hostID": "", "size": ""},
	"LinuxIOPriority":        {"priority": ""},
	"LinuxInterfacePriority": {"priority": ""},
	"LinuxSeccompArg":        {"index": "", "value": ""},
	"LinuxThrottleDevice":    {"major": "", "minor": "", "rate": ""},
	"LinuxWeightDevice":      {"major": "", "minor": ""},
	"POSIXRlimit":            {"soft": "", "hard": ""},
}

// pooled names the types that most configurations hold one of, for which
// spec/pool.go has a take function.
var pooled = map[string]bool{
	"Hooks": true, "Linux": true, "LinuxBlockIO": true, "LinuxCPU": true, "LinuxCapabilities": true, "LinuxMemory": true, "LinuxPids": true,
	"LinuxResources": true, "LinuxSeccomp": true, "Process": true, "Root": true,
}

// pooledSlices names the arrays that it has room for.
var pooledSlices = map[string]bool{
	"Linux.Namespaces": true, "LinuxResources.Devices": true, "LinuxSeccomp.Syscalls": true, "Process.Rlimits": true, "Spec.Mounts": true,
}

// decoder prints the function that reads a struct.
func (e *emitter) decoder(t reflect.Type) {
	fn := e.funcName("decode", t)
	needs := required[t.Name()]
	e.printf("\n")
	if e.roots[t] {
		e.printf("// %s consumes a %s.%s into v, as encoding/json would.\n", fn, e.alias, t.Name())
	}
	e.printf("func %s(r *wire.Reader, v *%s.%s) {\n", fn, e.alias, t.Name())
	if needs != nil {
		e.printf("off, seen := r.Offset(), 0\n")
	}
	e.printf("if !r.BeginObject() {\nreturn\n}\nfor r.NextKey() {\nagain:\nswitch r.Key() {\n")
	var names, missing []string
	for _, f := range mustFields(t) {
		e.printf("case %q:\n", f.name)
		call := e.decodeCall(f.typ, "&v."+f.sel)
		if f.typ.Kind() == reflect.Pointer && pooled[f.typ.Elem().Name()] {
			call = fmt.Sprintf("if v.%s == nil {\nv.%s = take%s(r)\n}\n%s", f.sel, f.sel, f.typ.Elem().Name(), call)
		}
		if pooledSlices[t.Name()+"."+f.sel] {
			call = fmt.Sprintf("if v.%s == nil {\nv.%s = take%s(r)\n}\n%s", f.sel, f.sel, f.sel, call)
		}
		if cond, ok := needs[f.name]; ok {
			bit := 1 << len(missing)
			if cond != "" {
				cond = " && " + cond
			}
			missing = append(missing, fmt.Sprintf("if seen&%d == 0%s {\nr.Missing(off, %q)\n}\n", bit, cond, f.name))
			call = fmt.Sprintf("if !r.Null() {\nseen |= %d\n%s\n}", bit, call)
		}
		e.printf("%s\n", call)
		names = append(names, fmt.Sprintf("%q", f.name))
	}
	e.printf("default:\nif r.FoldKey(%s) {\ngoto again\n}\nr.Skip()\n}\n}\n%s}\n", strings.Join(names, ", "), strings.Join(missing, ""))
	if len(missing) != len(needs) {
		panic(fmt.Sprintf("type %s has not all of %v", t, needs))
	}
}

// decodeCall is the statement that reads a value of type t into *ptr.
func (e *emitter) decodeCall(t reflect.Type, ptr string) string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		if fn, elem := e.containerFunc(t); elem != "" {
			return fmt.Sprintf("%s(r, %s, %s)", fn, ptr, elem)
		}
	}
	return fmt.Sprintf("%s(r, %s)", e.decodeFunc(t), ptr)
}

// containerFunc gives the function for a type that is made of another, and the
// function for that other if it has to be named.
func (e *emitter) containerFunc(t reflect.Type) (fn, elem string) {
	switch t.Kind() {
	case reflect.Pointer:
		return "wire.SetPtr", e.decodeFunc(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return "wire.SetStrings", ""
		}
		return "wire.SetSlice", e.decodeFunc(t.Elem())
	}
	if t.Elem().Kind() == reflect.String {
		return "wire.SetStringMap", ""
	}
	return "wire.SetMap", e.decodeFunc(t.Elem())
}

// decodeFunc is an expression of type func(*wire.Reader, *t), which may leave
// type arguments to inference.
func (e *emitter) decodeFunc(t reflect.Type) string {
	switch k := t.Kind(); k {
	case reflect.Struct:
		return e.funcName("decode", t)
	case reflect.String:
		return "wire.SetString"
	case reflect.Bool:
		return "wire.SetBool"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "wire.SetInt"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "wire.SetUint"
	case reflect.Interface:
		return "wire.SetAny"
	case reflect.Pointer, reflect.Slice, reflect.Map:
		fn, elem := e.containerFunc(t)
		if elem != "" {
			panic(fmt.Sprintf("type %s nests more than is known here", t))
		}
		return fn
	}
	panic(fmt.Sprintf("type %s is not known here", t))
}
