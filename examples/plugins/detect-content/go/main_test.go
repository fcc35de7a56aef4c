package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/sdk"
	"gatehouse/sdk/sdktest"
)

func TestDetectContent(t *testing.T) {
	fields := []sdk.Field{{Name: "note", Type: "text"}, {Name: "doc", Type: "jsonb"}, {Name: "id", Type: "int8"}}
	sdktest.Run(t, new(plugin), `{"prefixes": ["AKIA", "ghp_"]}`, func(t *testing.T, s *sdktest.Session) {
		got := s.Rows(fields,
			[]string{"use AKIAIOSFODNN7EXAMPLE!", `{"by": "ada@example.com", "key": "ghp_16C7e42F292c6912E7"}`, "1"},
			[]string{sdktest.Null, `{}`, "2"},
			[]string{"AKIA1234567", `"AKIA"`, "3"},
		)
		want := [][]string{
			{"use [redacted]!", `{"by": "[redacted]", "key": "[redacted]"}`, "1"},
			{sdktest.Null, `{}`, "2"},
			{"AKIA1234567", `"AKIA"`, "3"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
