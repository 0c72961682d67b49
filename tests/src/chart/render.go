// Renders a chart as Helm does: text/template, sprig, and what Helm adds to it. The file that is named has the request as JSON;
// standard output gets the rendered files by name.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

// Files are what templates may read of their chart, by path.
type Files map[string]string

func (files Files) Get(name string) string { return files[name] }

func (files Files) Glob(pattern string) Files {
	found := Files{}
	for name, text := range files {
		if matches, _ := path.Match(pattern, name); matches {
			found[name] = text
		}
	}
	return found
}

type request struct {
	Templates map[string]string
	Files     Files
	Values    map[string]interface{}
	Chart     map[string]interface{}
	Release   map[string]interface{}
}

func render(asked request) (map[string]string, error) {
	chart := template.New("chart").Option("missingkey=zero")
	chart.Funcs(sprig.TxtFuncMap()).Funcs(helm(chart))
	for name, text := range asked.Templates {
		if _, err := chart.New(name).Parse(text); err != nil {
			return nil, err
		}
	}
	data := map[string]interface{}{
		"Values": asked.Values, "Chart": asked.Chart, "Release": asked.Release, "Files": asked.Files,
	}
	rendered := map[string]string{}
	for name := range asked.Templates {
		if strings.HasPrefix(path.Base(name), "_") {
			continue
		}
		var text bytes.Buffer
		if err := chart.ExecuteTemplate(&text, name, data); err != nil {
			return nil, err
		}
		// Helm does so: a missing key is empty.
		rendered[name] = strings.ReplaceAll(text.String(), "<no value>", "")
	}
	return rendered, nil
}

// helm has what Helm adds to sprig.
func helm(chart *template.Template) template.FuncMap {
	return template.FuncMap{
		"include": func(name string, data interface{}) (string, error) {
			var text bytes.Buffer
			err := chart.ExecuteTemplate(&text, name, data)
			return text.String(), err
		},
		"toYaml": func(value interface{}) (string, error) {
			text, err := yaml.Marshal(value)
			return strings.TrimSuffix(string(text), "\n"), err
		},
		"fromYaml": func(text string) (map[string]interface{}, error) {
			value := map[string]interface{}{}
			err := yaml.Unmarshal([]byte(text), &value)
			return value, err
		},
		"required": func(message string, value interface{}) (interface{}, error) {
			if value == nil || value == "" {
				return nil, errors.New(message)
			}
			return value, nil
		},
		"fail": func(message string) (string, error) { return "", errors.New(message) },
	}
}

func read(name string, asked *request) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, asked)
}

func main() {
	var asked request
	err := read(os.Args[1], &asked)
	if err == nil {
		var rendered map[string]string
		if rendered, err = render(asked); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(rendered)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
