// Command detect-content is the plugin that redacts access keys: in text by looking
// at each value, in JSON by a detector that the gate runs.
package main

import (
	"bytes"
	"strings"

	"gatehouse/sdk"
)

type plugin struct {
	Prefixes []string `json:"prefixes"`
}

func (p *plugin) Configure(config []byte) error {
	*p = plugin{}
	return sdk.Unmarshal(config, p)
}

// rest is how many letters, digits and underscores follow a prefix at least.
const rest = 8

func (p *plugin) Detectors() []sdk.Detector {
	return []sdk.Detector{{Name: "key", Pattern: "(?:" + strings.Join(p.Prefixes, "|") + ")[A-Za-z0-9_]{8,}"}}
}

var search = []sdk.Detection{{Detector: "key", Kind: sdk.Redact}, {Detector: "email", Kind: sdk.Redact}}

func (p *plugin) Treat(_ *sdk.Session, h *sdk.Head) []sdk.Treatment {
	return sdk.Each(h, func(f *sdk.Field) sdk.Treatment {
		switch f.Type {
		case "text", "varchar", "bpchar":
			return sdk.Treatment{Kind: sdk.Inspect, Rule: "detect-content"}
		case "json", "jsonb":
			return sdk.Treatment{Kind: sdk.Detect, Rule: "detect-content", Detect: search}
		}
		return sdk.Treatment{Kind: sdk.Pass}
	})
}

func (p *plugin) Inspect(edits []sdk.Edit, b *sdk.Batch) []sdk.Edit {
	for i := range b.Len() {
		for j := range b.Fields() {
			v := b.Cell(i, j)
			for at := 0; at < len(v); at++ {
				if n := p.key(v[at:]); n > 0 {
					edits = append(edits, sdk.Edit{Row: i, Field: j, From: at, To: at + n, Treatment: sdk.Treatment{Kind: sdk.Redact}})
					at += n - 1
				}
			}
		}
	}
	return edits
}

// key returns the length of the key that v begins with, or 0.
func (p *plugin) key(v []byte) int {
	for _, prefix := range p.Prefixes {
		after, found := bytes.CutPrefix(v, []byte(prefix))
		if !found {
			continue
		}
		n := bytes.IndexFunc(after, outside)
		if n < 0 {
			n = len(after)
		}
		if n >= rest {
			return len(prefix) + n
		}
	}
	return 0
}

// outside is whether a key ends before r.
func outside(r rune) bool {
	return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

func init() { sdk.Register(new(plugin)) }
func main() {}
