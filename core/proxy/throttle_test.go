package proxy_test

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/core/proxy"
)

func TestThrottleForgetsAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := proxy.Throttle{Limit: 2}
		a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		throttle.Fail(a)
		time.Sleep(30 * time.Second)
		if throttle.Wait(a) != 0 {
			t.Error("waits after one failure")
		}
		throttle.Fail(a)
		if got := throttle.Wait(a); got != 30*time.Second || throttle.Wait(b) != 0 {
			t.Errorf("waits %s, want the rest of the minute", got)
		}
		time.Sleep(30 * time.Second)
		throttle.Fail(a)
		if throttle.Wait(a) != 0 {
			t.Error("the minute does not end")
		}
	})
}

// However many addresses there are, what is remembered of them is bounded, and
// newcomers are not let off.
func TestThrottleIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := proxy.Throttle{Limit: 3}
		addr := netip.MustParseAddr("10.0.0.0")
		for range 10_010 {
			addr = addr.Next()
			throttle.Fail(addr)
		}
		if throttle.Wait(addr.Next()) == 0 {
			t.Error("an address beyond those that are remembered may go on")
		}
		time.Sleep(time.Minute)
		throttle.Fail(addr)
		if throttle.Wait(addr.Next()) != 0 {
			t.Error("addresses are not forgotten")
		}
	})
}

func TestAddressesOfVersion6CountByNetwork(t *testing.T) {
	of := func(text string) netip.Addr {
		return proxy.AddressOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)))
	}
	if of("[2001:db8::1]:1") != of("[2001:db8::ffff:2]:9") || of("[2001:db8::1]:1") == of("[2001:db8:0:1::1]:1") {
		t.Error("a network of 64 bits does not count as one")
	}
	if of("192.0.2.1:5") != of("[::ffff:192.0.2.1]:6") || of("192.0.2.1:5") == of("192.0.2.2:5") {
		t.Error("addresses of version 4 are confused")
	}
}
