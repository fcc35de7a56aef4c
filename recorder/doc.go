// Package recorder keeps the evidence of sessions. Frames go to a local spool
// before their effect, are sealed into pieces, and pieces are stored and entered
// into one signed Merkle log. The package also reads recordings back, renders
// them and verifies them. FORMAT.md specifies what is stored.
package recorder
