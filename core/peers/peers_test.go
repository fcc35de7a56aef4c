package peers_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"

	"gatehouse/core/peers"
)

func TestPostgresVersionsAndStatements(t *testing.T) {
	for _, version := range []int{15, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			p := peers.SharedPostgres(t, version)
			database := p.NewDatabase(t, "CREATE TABLE people (id int)")
			conn := connect(t, p.URL(database))
			if got := conn.PgConn().ParameterStatus("server_version"); !strings.HasPrefix(got, fmt.Sprint(version, ".")) {
				t.Errorf("server_version = %q, want %d", got, version)
			}
			var n int
			if err := conn.QueryRow(t.Context(), "SELECT count(*)\nFROM people WHERE id = $1", 7).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(), "SELEC 1", pgx.QueryExecModeExec); err == nil {
				t.Fatal("a statement with a mistake ran")
			}
			got, err := p.Statements(database)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"CREATE TABLE people (id int)", "SELECT count(*)\nFROM people WHERE id = $1"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("statements in the log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPostgresAsksForWhatHBASays(t *testing.T) {
	p := peers.NewPostgres(t, peers.PostgresOptions{HBA: []string{
		"host all trusted 127.0.0.1/32 trust",
		"host all plain 127.0.0.1/32 password",
		"host all old 127.0.0.1/32 md5",
		"host all all 127.0.0.1/32 scram-sha-256",
	}})
	for role, encryption := range map[string]string{
		"trusted": "md5", "plain": "md5", "old": "md5", "new": "scram-sha-256",
	} {
		if err := p.CreateRole(t.Context(), role, "it's right", encryption); err != nil {
			t.Fatal(err)
		}
		connect(t, p.UserURL(role, "it's right", "postgres"))
		conn, err := pgx.Connect(t.Context(), p.UserURL(role, "wrong", "postgres"))
		if err == nil {
			conn.Close(t.Context())
		}
		if entered := err == nil; entered != (role == "trusted") {
			t.Errorf("%s with a wrong password: %v", role, err)
		}
	}
}

func TestPostgresServesTLS(t *testing.T) {
	authority, err := peers.NewAuthority("test authority")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.Issue("db.example", peers.Host)
	if err != nil {
		t.Fatal(err)
	}
	p := peers.NewPostgres(t, peers.PostgresOptions{
		TLS: cert, ClientCA: authority,
		HBA: []string{"hostssl all agent 127.0.0.1/32 scram-sha-256 clientcert=verify-full"},
	})
	if err := p.CreateRole(t.Context(), "agent", "secret", "scram-sha-256"); err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(p.UserURL("agent", "secret", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := pgx.ConnectConfig(t.Context(), config); err == nil {
		conn.Close(t.Context())
		t.Error("the server let a client in without TLS")
	}
	client, err := authority.Issue("agent")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := client.TLS()
	if err != nil {
		t.Fatal(err)
	}
	config.TLSConfig = &tls.Config{ServerName: "db.example", RootCAs: authority.Pool(), Certificates: []tls.Certificate{pair}}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestProxiesReachPostgres(t *testing.T) {
	p := peers.SharedPostgres(t, 15)
	database := p.NewDatabase(t, "")
	role, password := p.NewRole(t, "scram-sha-256")
	for name, proxy := range map[string]*peers.Proxy{
		"haproxy":   peers.NewHAProxy(t, p.Addr()),
		"pgbouncer": peers.NewPgBouncer(t, peers.PgBouncerOptions{Upstream: p.Addr(), User: role, Password: password}),
	} {
		conn := connect(t, peers.PostgresURL(proxy.Addr(), role, password, database))
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT current_database()").Scan(&got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got != database {
			t.Errorf("%s reached database %q, want %q", name, got, database)
		}
	}
}

func TestMinIOKeepsLockedObjects(t *testing.T) {
	m := peers.SharedMinIO(t)
	bucket := m.NewBucket(t, true)
	client, err := m.Client()
	if err != nil {
		t.Fatal(err)
	}
	want := []byte("evidence")
	info, err := client.PutObject(t.Context(), bucket, "piece", bytes.NewReader(want), int64(len(want)),
		minio.PutObjectOptions{LegalHold: minio.LegalHoldEnabled})
	if err != nil {
		t.Fatal(err)
	}
	err = client.RemoveObject(t.Context(), bucket, "piece", minio.RemoveObjectOptions{VersionID: info.VersionID})
	if err == nil {
		t.Error("a locked object was removed")
	}
	object, err := client.GetObject(t.Context(), bucket, "piece", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	if got, err := io.ReadAll(object); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read back %q, %v", got, err)
	}
}

func TestCloseStopsTheServerAndMayBeRepeated(t *testing.T) {
	p, err := peers.StartPostgres(t.Context(), peers.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if conn, err := pgx.Connect(t.Context(), p.URL("postgres")); err == nil {
		conn.Close(t.Context())
		t.Error("the server still answers")
	}
}

func TestStartNamesWhatIsMissing(t *testing.T) {
	_, err := peers.StartPostgres(t.Context(), peers.PostgresOptions{Version: 9})
	var missing *peers.MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "go tool task setup") {
		t.Errorf("error = %v, want a *MissingError that says what to run", err)
	}
}

func TestStartTellsWhatTheServerSaid(t *testing.T) {
	_, err := peers.StartPostgres(t.Context(), peers.PostgresOptions{
		Settings: map[string]string{"no_such_parameter": "1"},
	})
	if err == nil || !strings.Contains(err.Error(), "no_such_parameter") {
		t.Errorf("error = %v, want the server's own words", err)
	}
}

// A process that dies without closing its servers leaves none behind: this
// test runs itself as such a process.
func TestServersEndWithTheirProcess(t *testing.T) {
	const child = "GATEHOUSE_TEST_ABANDON"
	if os.Getenv(child) != "" {
		h, err := peers.StartHAProxy(t.Context(), "127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid %d\n", h.PID())
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "abandoned-") // not t.TempDir, which is private to the caller
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestServersEndWithTheirProcess$")
	cmd.Env = append(os.Environ(), child+"=1", "TMPDIR="+dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var pid int
	if _, err := fmt.Sscanf(string(out), "pid %d", &pid); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	// Removing the directory is the last thing that is done for a server.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there", left[0].Name())
		}
	}
	if err := syscall.Kill(pid, 0); err == nil && !zombie(t, pid) {
		t.Errorf("server %d still runs", pid)
	}
}

// zombie says whether a process has ended and only waits for its parent.
func zombie(t *testing.T, pid int) bool {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return conn
}
