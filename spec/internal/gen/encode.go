package main

import (
	"fmt"
	"reflect"
)

// encoder prints the function that writes a struct.
func (e *emitter) encoder(t reflect.Type) {
	fn := e.funcName("encode", t)
	e.printf("\n")
	if e.roots[t] {
		e.printf("// %s prints v as encoding/json would.\n", fn)
	}
	e.printf("func %s(w *wire.Writer, v *%s.%s) {\nw.BeginObject()\n", fn, e.alias, t.Name())
	for _, f := range mustFields(t) {
		cond := ""
		if f.omitempty {
			cond = notEmpty(f.typ, "v."+f.sel)
		}
		if cond != "" {
			e.printf("if %s {\n", cond)
		}
		e.printf("w.Key(%q)\n", f.name)
		// What is not empty is not nil.
		e.value(f.typ, "v."+f.sel, cond != "", 0)
		if cond != "" {
			e.printf("}\n")
		}
	}
	e.printf("w.EndObject()\n}\n")
}

// notEmpty is the condition under which omitempty keeps a field, "" if always.
func notEmpty(t reflect.Type, v string) string {
	switch t.Kind() {
	case reflect.Struct:
		return ""
	case reflect.Pointer, reflect.Interface:
		return v + " != nil"
	case reflect.Bool:
		return v
	case reflect.String:
		return v + ` != ""`
	case reflect.Slice, reflect.Map:
		return "len(" + v + ") != 0"
	}
	return v + " != 0"
}

// value prints statements that write v.
func (e *emitter) value(t reflect.Type, v string, notNil bool, depth int) {
	nilable := t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map
	if nilable && !notNil {
		e.printf("if %s == nil {\nw.Null()\n} else {\n", v)
		defer e.printf("}\n")
	}
	switch t.Kind() {
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Struct {
			e.printf("%s(w, %s)\n", e.funcName("encode", t.Elem()), v)
			return
		}
		e.value(t.Elem(), "*"+v, false, depth)
	case reflect.Struct:
		e.printf("%s(w, &%s)\n", e.funcName("encode", t), v)
	case reflect.String:
		e.printf("w.String(%s)\n", convert(t, "string", v))
	case reflect.Bool:
		e.printf("w.Bool(%s)\n", convert(t, "bool", v))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.printf("w.Int(%s)\n", convert(t, "int64", v))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		e.printf("w.Uint(%s)\n", convert(t, "uint64", v))
	case reflect.Interface:
		e.printf("w.Any(%s)\n", v)
	case reflect.Slice:
		if t.Elem() == reflect.TypeFor[string]() {
			e.printf("w.Strings(%s)\n", v)
			return
		}
		i := string(rune('i' + depth))
		e.printf("w.BeginArray()\nfor %s := range %s {\n", i, v)
		e.value(t.Elem(), v+"["+i+"]", false, depth+1)
		e.printf("}\nw.EndArray()\n")
	case reflect.Map:
		if t.Elem() == reflect.TypeFor[string]() {
			e.printf("w.StringMap(%s)\n", v)
			return
		}
		e.printf("w.BeginObject()\nfor _, k := range wire.SortedKeys(%s) {\nw.Key(k)\nmv := %s[k]\n", v, v)
		e.value(t.Elem(), "mv", false, depth+1)
		e.printf("}\nw.EndObject()\n")
	default:
		panic(fmt.Sprintf("type %s is not known here", t))
	}
}

// convert is v converted to a basic type, as it is if it has that type.
func convert(t reflect.Type, to, v string) string {
	if t.Name() == to && t.PkgPath() == "" {
		return v
	}
	return to + "(" + v + ")"
}
