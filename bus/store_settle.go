package bus

// take makes slots of what was offered, as many as a group may have.
func (s *Storer) take() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.taken < s.offered {
		e := s.at(s.taken)
		for s.takenTo < e.len {
			if len(s.slots) == storeSlotsMax {
				return
			}
			s.slots = append(s.slots, slot{batch: s.taken, i: int32(s.takenTo)})
			s.takenTo++
		}
		s.taken++
		s.takenTo = 0
	}
}

// settle tells the owners what became of the messages at the front.
func (s *Storer) settle() {
	told := 0
	for s.first() {
		e := &s.front
		for e.told < e.len && told < len(s.slots) && s.slots[told].settled {
			e.batch.Stored(e.told, s.slots[told].code)
			e.told++
			told++
		}
		if e.told < e.len || s.told == s.taken {
			break
		}
		s.finish()
	}
	if told > 0 {
		s.bus.count.storePending.Add(-int64(told))
		s.slots = s.slots[:copy(s.slots, s.slots[told:])]
	}
}

// first has the batch at the front of the ring in s.front. false: there is none.
func (s *Storer) first() bool {
	if s.front.batch != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == s.offered {
		return false
	}
	s.front = *s.at(s.told)
	return true
}

// finish takes the batch at the front out of the ring.
func (s *Storer) finish() {
	s.front.batch.Done()
	s.mu.Lock()
	s.bytes -= s.front.bytes
	*s.at(s.told) = storing{}
	s.told++
	owed := s.refused && s.bytes <= s.bus.options.PendingBytesMax/2
	if owed {
		s.refused = false
	}
	s.mu.Unlock()
	s.front = storing{}
	s.send.batch = storing{}
	s.send.has = false
	if owed && s.room != nil {
		s.room()
	}
}

// giveUpRest tells the owners of the rest.
func (s *Storer) giveUpRest() {
	s.taken = s.offered
	next := 0
	for s.first() {
		for e := &s.front; e.told < e.len; e.told++ {
			code := StoreGivenUp
			if next < len(s.slots) && s.slots[next].settled {
				code = s.slots[next].code
			}
			next++
			if code == StoreGivenUp {
				s.bus.count.storeGivenUp.Add(1)
			}
			s.bus.count.storePending.Add(-1)
			e.batch.Stored(e.told, code)
		}
		s.room = nil
		s.finish()
	}
	s.slots = nil
}
