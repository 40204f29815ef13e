package harness

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// schemas holds runtime-spec's JSON schema of a state, as it is in the module; a test compares them.
//
//go:embed schema/*.json
var schemas embed.FS

// CheckState holds a state document to schema/state-schema.json of runtime-spec. The schema's list of statuses has no
// "paused", which runtime.md allows ("a runtime MAY define additional values").
func CheckState(document string) error {
	var doc any
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		return fmt.Errorf("%w in %s", err, document)
	}
	if m, ok := doc.(map[string]any); ok && m["status"] == "paused" {
		m["status"] = "running"
	}
	if err := checkSchema("state-schema.json", nil, doc, "state"); err != nil {
		return fmt.Errorf("%w in %s", err, document)
	}
	return nil
}

func readSchema(file string) (any, error) {
	data, err := schemas.ReadFile("schema/" + file)
	if err != nil {
		return nil, err
	}
	var v any
	return v, json.Unmarshal(data, &v)
}

// checkSchema checks v by a schema of file (nil is all of it). It knows the keywords that a state's schema has, and says so
// of others.
func checkSchema(file string, schema, v any, at string) error {
	if schema == nil {
		var err error
		if schema, err = readSchema(file); err != nil {
			return err
		}
	}
	s, ok := schema.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: a schema is no object", file)
	}
	for _, keyword := range slices.Sorted(maps.Keys(s)) {
		arg := s[keyword]
		wrong := func(what string) error { return fmt.Errorf("%s %s, want %s %v", at, what, keyword, arg) }
		switch keyword {
		case "description", "$schema", "definitions":
		case "$ref":
			name, inner, err := lookUp(file, arg.(string))
			if err != nil {
				return err
			}
			if err := checkSchema(name, inner, v, at); err != nil {
				return err
			}
		case "type":
			if !isType(v, arg.(string)) {
				return wrong(fmt.Sprintf("is a %T", v))
			}
		case "enum":
			if !slices.Contains(arg.([]any), v) {
				return wrong(fmt.Sprintf("is %v", v))
			}
		case "minimum":
			if n, ok := v.(float64); ok && n < arg.(float64) {
				return wrong(fmt.Sprintf("is %v", n))
			}
		case "required":
			m, _ := v.(map[string]any)
			for _, name := range arg.([]any) {
				if _, ok := m[name.(string)]; !ok {
					return wrong("has no " + name.(string))
				}
			}
		case "properties", "patternProperties":
			m, _ := v.(map[string]any)
			for name, child := range m {
				for pattern, inner := range arg.(map[string]any) {
					match := name == pattern
					if keyword != "properties" {
						match = regexp.MustCompile(pattern).MatchString(name)
					}
					if match {
						if err := checkSchema(file, inner, child, at+"."+name); err != nil {
							return err
						}
					}
				}
			}
		default:
			return fmt.Errorf("%s: the schema's keyword %s is not known here", file, keyword)
		}
	}
	return nil
}

// lookUp finds what a reference in a schema's file stands for: FILE#/definitions/NAME.
func lookUp(file, ref string) (name string, schema any, err error) {
	name, fragment, _ := strings.Cut(ref, "#")
	if name == "" {
		name = file
	}
	if schema, err = readSchema(name); err != nil {
		return "", nil, err
	}
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+fragment), "/"), "/") {
		m, _ := schema.(map[string]any)
		if schema = m[part]; schema == nil {
			return "", nil, fmt.Errorf("%s: nothing at %s", name, ref)
		}
	}
	return name, schema, nil
}

func isType(v any, name string) bool {
	switch v := v.(type) {
	case map[string]any:
		return name == "object"
	case []any:
		return name == "array"
	case string:
		return name == "string"
	case bool:
		return name == "boolean"
	case float64:
		return name == "number" || name == "integer" && v == float64(int64(v))
	}
	return name == "null"
}
