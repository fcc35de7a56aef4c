// Package config reads Gatehouse's configuration: one YAML file, checked
// against the JSON Schema that is generated from the types in this package.
// Its doc comments are the configuration's reference: they become the
// descriptions in the schema that editors show.
//
// It is one of the few packages that read files and the environment; the
// packages that do the work get values.
package config

import "encoding/json"

// A Config is the whole of a configuration file.
type Config struct {
	// Gate names this gate in recordings, checkpoints and metrics. It must
	// not change over the life of a store.
	Gate string `json:"gate" jsonschema:"required,pattern=^[a-z0-9][a-z0-9.-]{0\\,62}$"`
	// Listen is where agents connect.
	Listen Listen `json:"listen" jsonschema:"required"`
	// Console is the web application for approvers and auditors.
	Console Console `json:"console" jsonschema:"required"`
	// Admin serves /metrics, /healthz and /readyz.
	Admin Admin `json:"admin"`
	// Identity is who vouches for agents and people.
	Identity Identity `json:"identity" jsonschema:"required"`
	// Resources are the targets that the gate fronts, by the name that
	// clients use for them.
	Resources map[string]*Resource `json:"resources" jsonschema:"required"`
	// Plugins are what policies can use, by the name that policies use.
	Plugins map[string]*Plugin `json:"plugins"`
	// PluginSigners are public keys in minisign's format (RW...). If there are
	// any, every module must be signed by one of them: plugins that are
	// builtin need no signature.
	PluginSigners []string `json:"plugin_signers,omitempty"`
	// Policies say who reaches what. The first one that names a group of
	// the principal and the resource decides; without one there is no
	// access.
	Policies []*Policy `json:"policies" jsonschema:"required"`
	// Approvals bounds what waits for a decision.
	Approvals Approvals `json:"approvals"`
	// Recording is where sessions are recorded.
	Recording Recording `json:"recording" jsonschema:"required"`
	// Keys are the gate's own secrets.
	Keys Keys `json:"keys" jsonschema:"required"`
	// Limits bound what one gate and one session take.
	Limits Limits `json:"limits"`
	// Reload says when changes of the configuration take effect.
	Reload Reload `json:"reload"`

	doc *document
}

// Listen is where agents connect, by protocol.
type Listen struct {
	// Postgres is the PostgreSQL listener.
	Postgres Postgres `json:"postgres" jsonschema:"required"`
}

// Postgres is a listener for PostgreSQL clients.
type Postgres struct {
	// Address is host:port. An empty host listens on every interface.
	Address string `json:"address" jsonschema:"default=127.0.0.1:6432"`
	// TLS is the certificate that clients see. Without it the listener
	// needs plaintext: loopback.
	TLS *TLS `json:"tls,omitempty"`
	// Plaintext says where clients may connect without TLS. The password
	// is an identity token, so it is loopback addresses or nowhere.
	Plaintext string `json:"plaintext" jsonschema:"enum=never,enum=loopback,default=never"`
}

// TLS is a certificate with its key. The files are read again when they change.
type TLS struct {
	// Certificate is a PEM file with the certificate and its chain.
	Certificate Path `json:"certificate" jsonschema:"required"`
	// Key is a PEM file with the private key.
	Key Path `json:"key" jsonschema:"required"`
	// ClientCA is a PEM file with authorities. With it clients must have a
	// certificate of one of them, besides what else proves who they are.
	ClientCA Path `json:"client_ca,omitempty"`
}

// Console is the web application and its API.
type Console struct {
	// Address is host:port. Without TLS it must be a loopback address.
	Address string `json:"address" jsonschema:"default=127.0.0.1:8080"`
	// URL is how browsers reach the console. The identity provider must
	// allow URL/callback as a redirect.
	URL string `json:"url" jsonschema:"required,format=uri"`
	// TLS is the certificate that browsers see.
	TLS *TLS `json:"tls,omitempty"`
	// Issuer is the identity provider that people sign in with. It may be
	// left out where there is only one.
	Issuer string `json:"issuer,omitempty" jsonschema:"format=uri"`
	// ClientID is the console's name at the identity provider. It is a
	// public client: authorization code with PKCE, no secret.
	ClientID string `json:"client_id" jsonschema:"required,minLength=1"`
	// Viewers are the groups that may list, replay and download sessions.
	// Approvers see what they may decide without being viewers.
	Viewers []string `json:"viewers"`
}

// Admin is the listener for those who run the gate. It has no
// authentication: keep it away from agents.
type Admin struct {
	// Address is host:port.
	Address string `json:"address" jsonschema:"default=127.0.0.1:9464"`
}

// Identity is who vouches for agents and people.
type Identity struct {
	// Providers are OpenID Connect issuers.
	Providers []*Provider `json:"providers" jsonschema:"required,minItems=1"`
}

// A Provider is one OpenID Connect issuer.
type Provider struct {
	// Issuer is the provider's URL, exactly as it is in its tokens.
	Issuer string `json:"issuer" jsonschema:"required,format=uri"`
	// Audience is what an agent's token must be made out to.
	Audience string `json:"audience" jsonschema:"required,minLength=1"`
	// Algorithms are the signature algorithms to accept: RS256, ES256 and
	// EdDSA if left out. Symmetric ones and none are never accepted.
	Algorithms []string `json:"algorithms,omitempty" jsonschema:"enum=RS256,enum=RS384,enum=RS512,enum=ES256,enum=ES384,enum=ES512,enum=PS256,enum=PS384,enum=PS512,enum=EdDSA"`
	// Groups is the claim that lists a principal's groups: its name, or a
	// path into nested claims such as realm_access.roles.
	Groups string `json:"groups" jsonschema:"default=groups"`
	// GroupPrefix is put before each group, to tell the groups of several
	// providers apart.
	GroupPrefix string `json:"group_prefix,omitempty"`
	// Name is the claim with the name that people see. If left out, it is
	// the verified e-mail address, then the preferred user name.
	Name string `json:"name,omitempty"`
	// Skew is how far the provider's clock may be from the gate's.
	Skew Duration `json:"skew" jsonschema:"default=30s"`
	// CA is a PEM file of certificates to trust for the provider, instead
	// of the system's.
	CA Path `json:"ca,omitempty"`
	// Keys says how the provider's signing keys are cached.
	Keys KeyCache `json:"keys"`
}

// KeyCache says how signing keys are cached.
type KeyCache struct {
	// Interval is the least time between two fetches, however many unknown
	// key ids come.
	Interval Duration `json:"interval" jsonschema:"default=10s"`
	// Refresh is how often keys are fetched anew, and so how long a key
	// that the provider withdrew can still be used.
	Refresh Duration `json:"refresh" jsonschema:"default=10m"`
	// Stale is for how long the gate goes on with the keys that it has
	// while the provider does not answer.
	Stale Duration `json:"stale" jsonschema:"default=24h"`
	// File keeps the keys for the next start. Whoever can write it can
	// forge tokens. Without it a start waits for the provider.
	File Path `json:"file,omitempty"`
}

// A Resource is a target with the credential that only the gate knows.
type Resource struct {
	// Protocol is the wire protocol.
	Protocol string `json:"protocol" jsonschema:"required,enum=postgres"`
	// Host is the server's name or address.
	Host string `json:"host" jsonschema:"required,minLength=1"`
	// Port is the server's port.
	Port int `json:"port" jsonschema:"minimum=1,maximum=65535,default=5432"`
	// User is whom the gate logs in as. Grant it no more than the agents
	// need: the gate's policies come on top of the server's own.
	User string `json:"user" jsonschema:"required,minLength=1"`
	// Password is a reference to the user's password. Leave it out for a
	// server that asks for none.
	Password Secret `json:"password,omitempty"`
	// Database is what a client gets that names the resource alone.
	Database string `json:"database" jsonschema:"required,minLength=1"`
	// Databases are further ones, for clients that name
	// RESOURCE/DATABASE; "*" is all that the user can open.
	Databases []string `json:"databases,omitempty"`
	// SSLMode is as in libpq. allow and prefer fall back to plaintext, and
	// only the verify modes find out whether it is the right server. Where
	// they do not, a server that is not on this machine does not get the
	// password in clear text, however it asks.
	SSLMode string `json:"sslmode" jsonschema:"enum=disable,enum=allow,enum=prefer,enum=require,enum=verify-ca,enum=verify-full,default=verify-full"`
	// SSLRootCert is a PEM file of certificates to trust for the server,
	// instead of the system's. It is read at each connection.
	SSLRootCert Path `json:"sslrootcert,omitempty"`
	// FunctionCalls are the OIDs of functions that clients may call by the
	// protocol's FunctionCall, as libpq does for large objects. A call is
	// judged as the SELECT that does the same. No other calls pass.
	FunctionCalls []uint32 `json:"function_calls,omitempty" jsonschema:"minimum=1,maximum=4294967295"`
	// Fallbacks are further servers, HOST or HOST:PORT, that are tried in
	// order when the one before cannot be reached or will not do.
	Fallbacks []string `json:"fallbacks,omitempty"`
	// TargetSessionAttrs says which of the servers will do, as in libpq.
	TargetSessionAttrs string `json:"target_session_attrs" jsonschema:"enum=any,enum=read-write,enum=read-only,enum=primary,enum=standby,enum=prefer-standby,default=any"`
	// ConnectTimeout is how long opening a connection to one of the
	// servers may take.
	ConnectTimeout Duration `json:"connect_timeout" jsonschema:"default=10s"`
	// ChannelBinding is whether the log-in is bound to the server's
	// certificate (SCRAM-SHA-256-PLUS), as in libpq.
	ChannelBinding string `json:"channel_binding" jsonschema:"enum=disable,enum=prefer,enum=require,default=prefer"`
	// Protect says which columns are protected, whatever plugins do.
	Protect *Protect `json:"protect,omitempty"`
}

// Protect says which columns of a resource are protected. Where there are any,
// what else comes back than rows is masked too, unless a policy clears its
// principals for all of them.
type Protect struct {
	// Mode is what is treated: with detect what plugins find in values, with
	// column also what is known to come from a protected column, with strict
	// all that is not known not to depend on one.
	Mode string `json:"mode" jsonschema:"enum=detect,enum=column,enum=strict,default=column"`
	// Columns are treatments by patterns of schema.table.column, in which *
	// stands for any characters: null, redact, hash, fake or keep_last:N. With
	// a path behind it, public.orders.doc$.owner.ssn, it is what that selects
	// within a JSON document. Of several that match a column the strictest
	// counts, those of plugins too.
	Columns map[string]Treatment `json:"columns,omitempty"`
	// Predicates is what becomes of a request that has a protected column in a
	// condition or an order: counted, it passes, and quotas count it; allowed,
	// it passes uncounted; held, somebody has to approve it; refused.
	Predicates string `json:"predicates" jsonschema:"enum=counted,enum=allowed,enum=held,enum=refused,default=counted"`
	// Matches is, in mode strict, what becomes of a statement in which a
	// protected column decides which rows there are by more than comparisons
	// with constants, as in a join or a GROUP BY: masked, all of its fields are;
	// allowed, they are as if it did not; refused.
	Matches string `json:"matches" jsonschema:"enum=masked,enum=allowed,enum=refused,default=masked"`
	// Writes is what becomes, in mode strict, of a statement that stores values
	// of a protected column elsewhere: refused; held, somebody has to approve it,
	// and where they are stored they are not protected; or tracked, it passes,
	// and the columns that they are stored in are protected from then on, up to
	// 10,000 of a resource.
	Writes string `json:"writes" jsonschema:"enum=refused,enum=held,enum=tracked,default=refused"`
	// Counts is whether, in mode strict, count of a protected column
	// passes, as it is. What else is computed from one is masked.
	Counts bool `json:"counts,omitempty"`
	// Sums is, in mode strict, over how many rows of a table at least sum and avg
	// of a protected column pass, and count with them: a statement says so by
	// HAVING count(column) >= N. Two sums over rows that differ in one tell its
	// value; quotas count each as a predicate. Without it none pass.
	Sums int `json:"sums,omitempty" jsonschema:"minimum=2"`
	// Account says which accounts of the server the gate may log in as. With
	// unprivileged that is none that is a superuser, owns protected columns, or
	// is a member of a role that is or does; with hardened also none that can
	// read them, or what shows them: gatehouse harden prints the SQL that takes
	// that away. With any, gatehouse check only remarks on it, and superusers are
	// served.
	Account string `json:"account" jsonschema:"enum=any,enum=unprivileged,enum=hardened,default=unprivileged"`
}

// A Plugin is a WebAssembly module with its configuration. It is either
// builtin or a module with its digest.
type Plugin struct {
	// Builtin is a plugin that ships with the gate.
	Builtin string `json:"builtin,omitempty" jsonschema:"enum=approve,enum=classify,enum=guard,enum=mask"`
	// Module is a WebAssembly file.
	Module Path `json:"module,omitempty"`
	// SHA256 is the module's digest in hexadecimal. A module that differs
	// is not loaded.
	SHA256 string `json:"sha256,omitempty" jsonschema:"pattern=^[0-9a-f]{64}$"`
	// Signature is the module's signature, as minisign makes it, by one of
	// plugin_signers. If left out it is the module's file with .minisig
	// behind its name.
	Signature Path `json:"signature,omitempty"`
	// Config is given to the plugin as JSON. Its keys are the plugin's own. It
	// is checked by the schema that the module carries.
	Config json.RawMessage `json:"config,omitempty" jsonschema:"type=object"`
	// Grants are what the plugin gets besides what it is asked: the real clock
	// and real randomness. Without them it has a clock that stands still and
	// randomness that is always the same.
	Grants []string `json:"grants,omitempty" jsonschema:"enum=clock,enum=random"`
	// Shadow lets the plugin run on everything that policies send to it, and
	// records what it says, as notices, without doing any of it.
	Shadow bool `json:"shadow,omitempty"`
}

// A Policy lets groups reach resources through plugins.
type Policy struct {
	// Name is for people, logs and recordings.
	Name string `json:"name" jsonschema:"required,minLength=1"`
	// Groups are the principals that it is for. One of them suffices.
	Groups []string `json:"groups" jsonschema:"required,minItems=1"`
	// Resources are what it lets them reach: RESOURCE for all databases
	// that the resource offers, or RESOURCE/DATABASE for one.
	Resources []string `json:"resources" jsonschema:"required,minItems=1"`
	// Plugins judge and mask, in this order. Of several verdicts and
	// treatments the strictest wins.
	Plugins []string `json:"plugins" jsonschema:"required"`
	// Clear are patterns of protected columns that its principals may see,
	// as in protect.columns of a resource.
	Clear []string `json:"clear,omitempty"`
	// Approvers are the groups that may decide what is held. Nobody
	// decides their own requests. Without approvers every hold ends in a
	// refusal.
	Approvers []string `json:"approvers,omitempty"`
	// Lifters are the groups that may lift columns of its resources that count
	// as protected since a statement stored protected values there, with
	// writes: tracked: the approvers if left out. Nobody lifts one that a session
	// of their own caused.
	Lifters []string `json:"lifters,omitempty"`
	// Hold is how long a held request waits before it is refused.
	Hold Duration `json:"hold" jsonschema:"default=5m"`
	// Quota is what one principal may get within an hour. If left out,
	// there is no limit.
	Quota *Quota `json:"quota,omitempty"`
	// OutlastToken lets sessions go on after the token expired that opened
	// them. Otherwise they end at the next idle point.
	OutlastToken bool `json:"outlast_token,omitempty"`
	// Open is what becomes of its open sessions when policies or plugins
	// change: renew, they go over to what is in force before their next
	// request, or end where that does not let them go on; stay, they end under
	// the policy, and with the plugins, that they began with.
	Open string `json:"open" jsonschema:"enum=renew,enum=stay,default=renew"`
	// Retention is the class of recording.retention that its sessions'
	// recordings belong to.
	Retention string `json:"retention" jsonschema:"default=standard"`
}

// A Quota is what one principal may get within an hour, over all of its
// sessions of this gate under one policy. The hour slides by the minute: no
// sixty minutes hold more. A request is refused when nothing is left, unless all
// it does is to end a transaction, and a result that would go beyond ends its
// session before the first row too many.
type Quota struct {
	// Rows is how many rows. If left out, there is no limit.
	Rows int64 `json:"rows,omitempty" jsonschema:"minimum=1"`
	// Bytes is how large they may be together, as the protocol encodes
	// them. If left out, there is no limit.
	Bytes Size `json:"bytes,omitempty"`
	// Columns is what it may do with each protected column of the resource.
	Columns *ColumnQuota `json:"columns,omitempty"`
}

// A ColumnQuota is what one principal may do within an hour with each protected
// column, as in protect.columns of a resource, counted by the column as the
// quota is as a whole. What a policy clears counts too.
type ColumnQuota struct {
	// Rows is how many rows that show something of it: as it is, hashed, or
	// its last characters.
	Rows int64 `json:"rows,omitempty" jsonschema:"minimum=1"`
	// Bytes is how large these rows may be together.
	Bytes Size `json:"bytes,omitempty"`
	// Predicates is how many requests may compare it, sort or group by it, or
	// choose rows by it in another way, and how many get sums of it as
	// protect.sums lets pass. Where the text leaves open whether a name is that
	// column, it counts.
	Predicates int64 `json:"predicates,omitempty" jsonschema:"minimum=1"`
	// Over is what becomes of a request that names the column when nothing is
	// left: it is refused, or held until someone approves it. A result that
	// would go beyond ends its session, unless it was approved.
	Over string `json:"over" jsonschema:"enum=block,enum=hold,default=block"`
}

// Approvals bounds what waits for a decision.
type Approvals struct {
	// Pending is how many requests may wait at a time. More are refused.
	Pending int `json:"pending" jsonschema:"minimum=1,default=1000"`
	// Principal is how many of them may be of one principal.
	Principal int `json:"principal" jsonschema:"minimum=1,default=100"`
	// Size is how much memory they may take together, statements and
	// values.
	Size Size `json:"size" jsonschema:"default=64MiB"`
}

// Recording is where sessions are recorded: first in a local spool, then,
// sealed into pieces, in a store.
type Recording struct {
	// Spool is on a local disk. A request is in it before it runs.
	Spool Spool `json:"spool" jsonschema:"required"`
	// Seal says when the frames of a session become a piece.
	Seal Seal `json:"seal"`
	// Encryption is to whom recordings are encrypted before they leave the
	// spool. Without it they are compressed only.
	Encryption Encryption `json:"encryption"`
	// Store is where pieces are kept: a directory or S3.
	Store Store `json:"store" jsonschema:"required"`
	// Retention are the classes that policies use: how long, and how firmly,
	// the bucket keeps recordings by object lock. If left out it is one class,
	// standard, without a lock.
	Retention map[string]*Retention `json:"retention,omitempty"`
}

// Retention is what a class of recordings asks of the bucket.
type Retention struct {
	// Mode is who can remove a recording before its time: compliance,
	// nobody; governance, whoever has the permission to bypass it; none,
	// whoever may write to the bucket.
	Mode string `json:"mode" jsonschema:"enum=none,enum=governance,enum=compliance,default=none"`
	// Days is how long a recording is kept after what it recorded. The
	// gate's log is kept as long as the longest class asks.
	Days int `json:"days,omitempty" jsonschema:"minimum=1,maximum=36500"`
}

// Encryption is to whom recordings are encrypted. Verifying them needs no key.
type Encryption struct {
	// Recipients are age recipients (age1...), each of whom can read what is
	// recorded from then on. age-keygen and gatehouse keygen --recipient
	// make them.
	Recipients []string `json:"recipients,omitempty" jsonschema:"maxItems=16"`
	// Identity is a reference to a file of age identities. With it the
	// console and the commands that read this configuration open encrypted
	// recordings. A gate that only records does better without.
	Identity Secret `json:"identity,omitempty"`
}

// Spool is the local directory that frames are written to first.
type Spool struct {
	// Directory is created if it is not there. One gate uses it at a time.
	Directory Path `json:"directory" jsonschema:"required"`
	// Size is how much of the disk the spool takes. It fills while the
	// store is not to be reached. An eighth of the disk, at most 64 MiB,
	// stays free in any case.
	Size Size `json:"size" jsonschema:"default=8GiB"`
	// Wait is how long requests wait for a full spool before they are
	// refused.
	Wait Duration `json:"wait" jsonschema:"default=30s"`
	// Durability is what a frame in the spool survives before what it
	// records takes effect: the end of the gate's process, or a power
	// failure too. The latter waits for the disk at every step of a
	// session; those that wait at the same time share its fsyncs.
	Durability string `json:"durability" jsonschema:"enum=process,enum=power,default=process"`
}

// Seal says when the frames of a session become a piece.
type Seal struct {
	// Age is after what time.
	Age Duration `json:"age" jsonschema:"default=1s"`
	// Size is at what size.
	Size Size `json:"size" jsonschema:"default=4MiB"`
}

// Store is where pieces are kept. It is either a directory or S3.
type Store struct {
	// Directory is created if it is not there.
	Directory Path `json:"directory,omitempty"`
	// S3 is a bucket of any store that speaks S3.
	S3 *S3 `json:"s3,omitempty"`
}

// S3 is a bucket with its credential.
type S3 struct {
	// Endpoint is the service's URL: https, or http on a loopback address.
	Endpoint string `json:"endpoint" jsonschema:"required,format=uri"`
	// Bucket must be there. Give it object lock, so that nobody can remove
	// what is recorded before its time.
	Bucket string `json:"bucket" jsonschema:"required,minLength=3,maxLength=63"`
	// Region is the bucket's. The service is asked if it is left out.
	Region string `json:"region,omitempty"`
	// AccessKey is a reference to the key's id. Both are read again while the
	// gate runs, so that keys in files can be changed.
	AccessKey Secret `json:"access_key" jsonschema:"required"`
	// SecretKey is a reference to the key.
	SecretKey Secret `json:"secret_key" jsonschema:"required"`
	// Prefix is the folder in the bucket. Two gates in one bucket have
	// different ones.
	Prefix string `json:"prefix,omitempty"`
	// CA is a PEM file of certificates to trust for the endpoint, instead
	// of the system's.
	CA Path `json:"ca,omitempty"`
}

// Keys are the gate's own secrets.
type Keys struct {
	// Hash keys the mask treatment hash and the digests that bind
	// approvals: at least 32 bytes. Hashes can be joined as long as it
	// stays the same.
	Hash Secret `json:"hash" jsonschema:"required"`
	// Signing signs checkpoints over the recordings. gatehouse keygen
	// makes one.
	Signing Secret `json:"signing" jsonschema:"required"`
}

// Limits bound what one gate and one session take.
type Limits struct {
	// Connections is how many clients that proved who they are are served
	// at a time. Further ones are refused.
	Connections int `json:"connections" jsonschema:"minimum=1,default=4096"`
	// Address is how many of them may have the same address. This and the
	// other limits for each address count an IPv6 network of 64 bits as
	// one.
	Address int `json:"address" jsonschema:"minimum=1,default=2048"`
	// Unauthenticated is how many connections there may be whose clients
	// did not prove who they are yet. One more cuts the oldest one of the
	// address that has most of them. They take nothing from connections.
	Unauthenticated int `json:"unauthenticated" jsonschema:"minimum=1,default=1024"`
	// UnauthenticatedAddress is how many of those may have the same
	// address. Further ones are refused.
	UnauthenticatedAddress int `json:"unauthenticated_address" jsonschema:"minimum=1,default=256"`
	// Failures is how often clients with the same address may fail to
	// prove who they are within a minute. Then none of them may try before
	// the minute is over.
	Failures int `json:"failures" jsonschema:"minimum=1,default=60"`
	// Cancels is how many cancel requests with a wrong key from one
	// address are looked at within a minute. Further ones are dropped.
	Cancels int `json:"cancels" jsonschema:"minimum=1,default=60"`
	// Web is how many connections the console and the admin listener serve
	// at a time, each.
	Web int `json:"web" jsonschema:"minimum=1,default=1000"`
	// Idle is how long a session may do nothing outside a transaction
	// before it is ended.
	Idle Duration `json:"idle" jsonschema:"default=24h"`
	// IdleInTransaction is how long a session may do nothing within a
	// transaction. If left out, for ever.
	IdleInTransaction Duration `json:"idle_in_transaction,omitempty"`
	// Startup is how long a client may take to say who it is.
	Startup Duration `json:"startup" jsonschema:"default=10s"`
	// Message is the size of the largest message that is read whole: all
	// that clients send but for the data of uploads, and what servers send
	// but for rows. A larger one of a client is refused. At most 1GiB, which
	// is PostgreSQL's own limit.
	Message Size `json:"message" jsonschema:"default=64MiB"`
	// Text is the longest text of a statement, values in it included. Longer
	// ones are refused. At most 16MiB, which the parser of statements bears.
	Text Size `json:"text" jsonschema:"default=16MiB"`
	// Parameters is how much plugins and approvers get of the parameters of a
	// request, all of them together. What is cut for them is marked, and
	// recorded whole.
	Parameters Size `json:"parameters" jsonschema:"default=1MiB"`
	// Buffer is the size of the largest row that is read whole. Larger ones,
	// up to PostgreSQL's own 1GiB, are passed on, and recorded, in pieces.
	Buffer Size `json:"buffer" jsonschema:"default=1MiB"`
	// Inspect is how much of a row that is not read whole plugins may inspect,
	// all of its values together. What is longer is redacted.
	Inspect Size `json:"inspect" jsonschema:"default=4MiB"`
	// Spill is how much of the spool's disk rows may take, of all sessions
	// together, that are not read whole and have values to mask. What of such
	// a row is before its last masked value, and of a COPY all of it, waits
	// there, masked, in a file without a name, until the row's length is
	// known. A session ends whose row finds no room.
	Spill Size `json:"spill" jsonschema:"default=8GiB"`
	// Unread is how long a client may read nothing of what it is sent before
	// its session ends.
	Unread Duration `json:"unread" jsonschema:"default=5m"`
	// Unsent is how long a client that has begun a message may take for each
	// 64KiB of it, and for its rest, before its session ends.
	Unsent Duration `json:"unsent" jsonschema:"default=1m"`
	// Untaken is how long a server may take nothing of what it is sent, while
	// it says nothing either, before the session ends. Each 64KiB taken counts.
	// A server also takes nothing while it runs a statement, so this must be
	// longer than the longest behind which a client sends megabytes more.
	Untaken Duration `json:"untaken" jsonschema:"default=1h"`
	// Statements is how many prepared statements and portals a session may
	// have open.
	Statements int `json:"statements" jsonschema:"minimum=1,default=4096"`
	// Pipeline is how many requests of one session may be under way.
	Pipeline int `json:"pipeline" jsonschema:"minimum=1,default=4096"`
	// BusyPoll is how long a processor polls for a session's next message in
	// place of sleeping, where that session is busy alone and its messages
	// mostly come as soon as that. It saves the time to wake up, for each
	// message, and takes a processor meanwhile. Zero is never; at most 1ms.
	BusyPoll *Duration `json:"busy_poll" jsonschema:"default=0.2ms"`
	// Drain is how long sessions may go on after the gate was asked to
	// stop. They end at their next idle point.
	Drain Duration `json:"drain" jsonschema:"default=30s"`
	// Plugin bounds each call of a plugin.
	Plugin PluginLimits `json:"plugin"`
}

// Reload says when changes of the configuration take effect: at SIGHUP, and
// when one of the files changed that it is made of (this file, modules of
// plugins, secrets). Policies, plugins, plugin_signers, resources and limits.plugin take effect
// while the gate runs; the log names every other setting that changed and needs
// a restart. A configuration with problems is refused whole.
type Reload struct {
	// Every is how often the files are looked at. A change takes effect
	// once two looks find the same.
	Every Duration `json:"every" jsonschema:"default=2s"`
}

// PluginLimits bound plugins, and each call of one.
type PluginLimits struct {
	// Memory is the most that one instance may have.
	Memory Size `json:"memory" jsonschema:"default=64MiB"`
	// Instructions are what one call may take, the same on any machine,
	// however busy. What fills or copies memory counts by its length.
	Instructions int64 `json:"instructions" jsonschema:"default=1000000000,minimum=1000000"`
	// Start is how many instructions each step of an instance's start may
	// take.
	Start int64 `json:"start" jsonschema:"default=10000000000,minimum=1000000"`
	// Stack is how much a call may take for functions that call each other:
	// about what their parameters, locals and values add up to.
	Stack Size `json:"stack" jsonschema:"default=4MiB"`
	// Time is the longest that one call may take: the last resort, for a
	// gate that does not get on. Instructions decide what is too much.
	Time Duration `json:"time" jsonschema:"default=1m"`
	// Module is the largest module, and Function the largest body of one of
	// its functions. Compiling takes time and memory that grow faster.
	Module   Size `json:"module" jsonschema:"default=8MiB"`
	Function Size `json:"function" jsonschema:"default=128KiB"`
	// Instances is how many calls of one plugin run at a time: one for
	// each processor if left out.
	Instances int `json:"instances,omitempty" jsonschema:"minimum=1"`
	// Failures is how many calls of a plugin fail in succession before
	// requests that need it are refused, for Pause: those of the principal
	// whose calls they all were, or everybody's, if no more than half were
	// any one principal's. Then one is tried.
	Failures int      `json:"failures" jsonschema:"default=10,minimum=1"`
	Pause    Duration `json:"pause" jsonschema:"default=10s"`
}
