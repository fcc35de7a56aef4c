package config

import (
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Changes returns where the values of to differ from those of c, as paths for
// Problem: the deepest places that both have.
func (c *Config) Changes(to *Config) [][]string {
	return changes(nil, reflect.ValueOf(c).Elem(), reflect.ValueOf(to).Elem())
}

func changes(path []string, a, b reflect.Value) (found [][]string) {
	step := func(name string, a, b reflect.Value) {
		found = append(found, changes(append(slices.Clip(path), name), a, b)...)
	}
	switch {
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		return changes(path, a.Elem(), b.Elem())
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			if f := a.Type().Field(i); f.IsExported() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				step(name, a.Field(i), b.Field(i))
			}
		}
		return found
	case a.Kind() == reflect.Map:
		names := make(map[string]bool)
		for _, k := range slices.Concat(a.MapKeys(), b.MapKeys()) {
			names[k.String()] = true
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			va, vb := a.MapIndex(reflect.ValueOf(name)), b.MapIndex(reflect.ValueOf(name))
			if va.IsValid() && vb.IsValid() {
				step(name, va, vb)
			} else {
				found = append(found, append(slices.Clip(path), name))
			}
		}
		return found
	case a.Kind() == reflect.Slice && a.Type() != reflect.TypeFor[json.RawMessage]() && a.Len() == b.Len():
		for i := range a.Len() {
			step(strconv.Itoa(i), a.Index(i), b.Index(i))
		}
		return found
	}
	if !reflect.DeepEqual(a.Interface(), b.Interface()) {
		return [][]string{path}
	}
	return nil
}

// File is the name of the configuration file.
func (c *Config) File() string { return c.doc.file }

// SignatureFile is the file with the module's signature.
func (p *Plugin) SignatureFile() string { return string(cmp.Or(p.Signature, p.Module+".minisig")) }

// Files are the files that a configuration is made of: the configuration file
// itself, modules of plugins with their signatures, and secrets.
func (c *Config) Files() []string {
	files := []string{c.File()}
	for _, p := range c.Plugins {
		if p.Module != "" {
			files = append(files, string(p.Module))
			if len(c.PluginSigners) > 0 {
				files = append(files, p.SignatureFile())
			}
		}
	}
	files = secretFiles(files, reflect.ValueOf(c).Elem())
	slices.Sort(files)
	return slices.Compact(files)
}

func secretFiles(files []string, v reflect.Value) []string {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return secretFiles(files, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				files = secretFiles(files, v.Field(i))
			}
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			files = secretFiles(files, i.Value())
		}
	case reflect.String:
		if s, ok := v.Interface().(Secret); ok {
			if file, ok := strings.CutPrefix(string(s), "file:"); ok {
				files = append(files, file)
			}
		}
	}
	return files
}
