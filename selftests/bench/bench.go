// SPDX-License-Identifier: GPL-2.0-only

// bench.go - the benchmarks beside it, as a Go program. Arguments and output are those of the C programs:
//
//	gobench blockers K [queue] [MS]
//	gobench faults GOROUTINES FILE [FAULTS]
//	gobench crowd GOROUTINES FEW
//	gobench late SLEEPERS [timer] [MS]
//	gobench switch WHAT [COUNT]
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type counter struct {
	n uint64
	_ [120]byte
}

func number(i int, otherwise int) int {
	if i >= len(os.Args) {
		return otherwise
	}
	n, err := strconv.Atoi(os.Args[i])
	if err != nil {
		return otherwise
	}
	return n
}

// nap blocks the thread, as a C library would.
func nap(ns int64) {
	ts := syscall.NsecToTimespec(ns)
	syscall.Nanosleep(&ts, nil)
}

func unit(x uint64) uint64 {
	for i := 0; i < 100; i++ {
		x ^= x << 13
		x ^= x >> 7
	}
	return x
}

func sum(c []counter) (s uint64) {
	for i := range c {
		s += atomic.LoadUint64(&c[i].n)
	}
	return
}

func threads() int { return pprof.Lookup("threadcreate").Count() }

// count is a plain store, as the other programs have it.
//
//go:nosplit
func count(c *counter) { c.n++ }

func blockers() {
	calls := make([]counter, number(2, 8))
	work := make([]counter, runtime.GOMAXPROCS(0))
	window := time.Second
	queue := false
	for i := 3; i < len(os.Args); i++ {
		if os.Args[i] == "queue" {
			queue = true
		} else {
			window = time.Duration(number(i, 1000)) * time.Millisecond
		}
	}
	ch := make(chan uint64, 128)
	if queue {
		go func() {
			var got uint64
			for v := range ch {
				got += v
			}
		}()
	}
	for i := range calls {
		go func() {
			for {
				nap(100000)
				if queue {
					ch <- 1
				}
				count(&calls[i])
			}
		}()
	}
	for i := range work {
		go func() {
			x := uint64(i + 1)
			for {
				x = unit(x)
				work[i].n++
				if x == 0 {
					fmt.Println()
				}
			}
		}()
	}
	begin := time.Now()
	ramp := time.Duration(0)
	for there := false; !there && ramp < 5*time.Second; ramp = time.Since(begin) {
		time.Sleep(window / 100)
		there = true
		for i := range calls {
			there = there && atomic.LoadUint64(&calls[i].n) != 0
		}
		for i := range work {
			there = there && atomic.LoadUint64(&work[i].n) != 0
		}
	}
	time.Sleep(window / 4)
	t, w, c := time.Now(), sum(work), sum(calls)
	time.Sleep(window)
	d := time.Since(t).Seconds()
	w, c = sum(work)-w, sum(calls)-c
	fmt.Printf("work=%.0f calls=%.0f threads=%d ramp_ms=%d\n", float64(w)/d, float64(c)/d, threads(), ramp.Milliseconds())
}

func faults() {
	n, total := number(2, 64), number(4, 16384)
	f, err := os.Open(os.Args[3])
	if err != nil {
		panic(err)
	}
	st, _ := f.Stat()
	pages := uint64(1)
	for pages*2*4096 <= uint64(st.Size()) {
		pages *= 2
	}
	syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, 4, 0, 0)
	m, err := syscall.Mmap(int(f.Fd()), 0, int(pages*4096), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	syscall.Madvise(m, syscall.MADV_RANDOM)
	seen := make([]counter, n)
	var wg sync.WaitGroup
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	t := time.Now()
	for s := 0; s < n; s++ {
		wg.Add(1)
		go func() {
			for i := uint64(s); i < uint64(total); i += uint64(n) {
				seen[s].n += uint64(m[(i*2654435761+12345)%pages*4096])
			}
			wg.Done()
		}()
	}
	wg.Wait()
	d := time.Since(t).Seconds()
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	fmt.Printf("faults=%.0f major=%.3f threads=%d\n", float64(total)/d,
		float64(after.Majflt-before.Majflt)/float64(total), threads())
}

func crowd() {
	n, few := number(2, 10000), number(3, 8)
	var blocked, most atomic.Int64
	var wg sync.WaitGroup
	tokens := make(chan byte, few)
	t := time.Now()
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func() {
			token := <-tokens
			b := blocked.Add(1)
			for m := most.Load(); b > m && !most.CompareAndSwap(m, b); m = most.Load() {
			}
			nap(1000000)
			blocked.Add(-1)
			tokens <- token
			wg.Done()
		}()
	}
	for i := 0; i < few; i++ {
		tokens <- 0
	}
	wg.Wait()
	fmt.Printf("threads=%d blocked=%d ms=%.0f\n", threads(), most.Load(), time.Since(t).Seconds()*1000)
}

func lateness() {
	const sleep = time.Millisecond
	work := make([]counter, 4*runtime.GOMAXPROCS(0))
	window := time.Second
	timer := false
	for i := 3; i < len(os.Args); i++ {
		if os.Args[i] == "timer" {
			timer = true
		} else {
			window = time.Duration(number(i, 1000)) * time.Millisecond
		}
	}
	late := make([]int64, 1<<20)
	var n atomic.Int64
	var measuring atomic.Bool
	for i := 0; i < number(2, 8); i++ {
		go func() {
			for {
				t := time.Now()
				if timer {
					time.Sleep(sleep)
				} else {
					nap(int64(sleep))
				}
				d := time.Since(t) - sleep
				if !measuring.Load() {
					continue
				}
				if k := n.Add(1) - 1; k < int64(len(late)) {
					atomic.StoreInt64(&late[k], max(int64(d), 1))
				}
			}
		}()
	}
	for i := range work {
		go func() {
			x := uint64(i + 1)
			for {
				x = unit(x)
				work[i].n++
				if x == 0 {
					fmt.Println()
				}
			}
		}()
	}
	begin := time.Now()
	for there := false; !there && time.Since(begin) < 5*time.Second; {
		time.Sleep(window / 100)
		there = true
		for i := range work {
			there = there && atomic.LoadUint64(&work[i].n) != 0
		}
	}
	time.Sleep(window / 4)
	t, w := time.Now(), sum(work)
	measuring.Store(true)
	time.Sleep(window)
	measuring.Store(false)
	s := time.Since(t).Seconds()
	w = sum(work) - w
	all := []int64{}
	for k := int64(0); k < min(n.Load(), int64(len(late))); k++ {
		if d := atomic.LoadInt64(&late[k]); d != 0 {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		fmt.Fprintln(os.Stderr, "nobody woke")
		os.Exit(1)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	us := func(i int) float64 { return float64(all[i]) / 1e3 }
	fmt.Printf("median_us=%.1f p99_us=%.1f worst_us=%.1f sleeps=%.0f work=%.0f\n", us(len(all)/2), us(len(all)*99/100),
		us(len(all)-1), float64(len(all))/s, float64(w)/s)
}

func cpu() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

var wg sync.WaitGroup

func done()    { wg.Done() }
func nothing() { wg.Done() }

// switches does what switch.c does, and returns the number of operations and how many went on at a time.
func switches(what string, n int) (int, int) {
	switch what {
	case "yield":
		tasks := 2 * runtime.GOMAXPROCS(0)
		for i := 0; i < tasks; i++ {
			wg.Add(1)
			go func() {
				for i := 0; i < n; i++ {
					runtime.Gosched()
				}
				wg.Done()
			}()
		}
		wg.Wait()
		return n * tasks, runtime.GOMAXPROCS(0)
	case "spawn":
		for i := 0; i < n; i++ {
			wg.Add(1)
			go nothing()
			wg.Wait()
		}
	case "spawnmany":
		for i := 0; i < n/1000; i++ {
			wg.Add(1000)
			for j := 0; j < 1000; j++ {
				go done()
			}
			wg.Wait()
		}
		n = n / 1000 * 1000
	case "message", "buffered":
		size := 0
		if what == "buffered" {
			size = 128
		}
		ch := make(chan uint64, size)
		go func() {
			for i := 0; i < n; i++ {
				ch <- uint64(i)
			}
			close(ch)
		}()
		for range ch {
		}
	case "select", "ready":
		size := 0
		if what == "ready" {
			size = 128
		}
		var four, c [4]chan uint64
		for i := range four {
			four[i] = make(chan uint64, size)
		}
		c = four
		go func() {
			for i := 0; i < n; i++ {
				four[i%4] <- uint64(i)
			}
			for i := range four {
				close(four[i])
			}
		}()
		for open := 4; open > 0; {
			var ok bool
			which := 0
			select {
			case _, ok = <-c[0]:
			case _, ok = <-c[1]:
				which = 1
			case _, ok = <-c[2]:
				which = 2
			case _, ok = <-c[3]:
				which = 3
			}
			if !ok {
				c[which] = nil
				open--
			}
		}
	case "tries":
		var c [4]chan uint64
		for i := range c {
			c[i] = make(chan uint64, 1)
		}
		for i := 0; i < n; i++ {
			select {
			case <-c[0]:
			case <-c[1]:
			case <-c[2]:
			case <-c[3]:
			default:
			}
		}
	case "queue", "rendezvous":
		size := 0
		if what == "queue" {
			size = 128
		}
		tasks := 2 * runtime.GOMAXPROCS(0)
		share := n / tasks
		ch := make(chan uint64, size)
		for i := 0; i < tasks; i++ {
			wg.Add(2)
			go func() {
				for i := 0; i < share; i++ {
					ch <- uint64(i)
				}
				wg.Done()
			}()
			go func() {
				for i := 0; i < share; i++ {
					<-ch
				}
				wg.Done()
			}()
		}
		wg.Wait()
		return share * tasks, 1
	}
	return n, 1
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: gobench blockers|faults|crowd|late|switch ARG...")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "blockers":
		blockers()
	case "faults":
		faults()
	case "crowd":
		crowd()
	case "late":
		lateness()
	case "switch":
		n := number(3, 1000000)
		switches(os.Args[2], max(n/10, 1000))
		t, c := time.Now(), cpu()
		ops, per := switches(os.Args[2], n)
		wall := time.Since(t)
		c = cpu() - c
		fmt.Printf("ns=%.2f cpu=%.2f\n", float64(wall.Nanoseconds())*float64(per)/float64(ops), float64(c)/float64(ops))
	}
}
