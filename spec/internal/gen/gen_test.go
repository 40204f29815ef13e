package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The committed files are what the generator writes today.
func TestUpToDate(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Error(err)
		} else if string(got) != string(want) {
			t.Errorf("%s is out of date: run go generate in spec", name)
		}
	}
}

func TestUnknownTagOption(t *testing.T) {
	type bad struct {
		N int `json:"n,string"`
	}
	if err := collect(reflect.TypeFor[bad](), map[reflect.Type]bool{}); err == nil || !strings.Contains(err.Error(), `"string"`) {
		t.Errorf("got %v", err)
	}
}
